"""Your own photographs: the CSV, what is made of a folder of people, and what is refused."""

import re
import shutil
import unicodedata
import zipfile
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import torch
from nbclient import NotebookClient
from PIL import Image

from reidlab import data, study
from reidlab.common import paths
from reidlab.common.errors import DataError, ReidlabError
from reidlab.data.readers.own import make_csv
from reidlab.metrics.scores import FeatureSet, evaluate
from reidlab.plots.style import PRIVATE
from reidlab.study.photographs import suspicion
from reidlab.training import loop as train
from reidlab.training.loop import TrainConfig, fit
from tests.conftest import write_image

PEOPLE = ["anna", "bert", "cleo", "dora", "emil", "finn"]


@pytest.fixture
def photographs(tmp_path):
    """Makes a folder of people: ``make({"anna/door": 3})`` gives anna 3 images from the door."""

    def make(counts: dict[str, int], folder: str = "photographs") -> Path:
        root = tmp_path / folder
        root.mkdir(parents=True, exist_ok=True)
        for number, (place, count) in enumerate(counts.items()):
            for shot in range(count):
                write_image(root / place / f"IMG_{shot:04d}.jpg", 100 * number + shot)
        return root

    return make


@pytest.fixture
def table(tmp_path):
    """Writes own.csv, and an image for each of its paths that is not there."""

    def write(*rows: str, header: str = "path,pid,camid,split", encoding: str = "utf-8") -> Path:
        for row in rows:
            file = tmp_path / row.partition(",")[0]
            if not file.exists() and file.suffix == ".jpg":
                write_image(file, ord(file.name[0]))
        out = tmp_path / "own.csv"
        out.write_text("\n".join([header, *rows]) + "\n", encoding=encoding)
        return out

    return write


WHOLE = ("a.jpg,5,2,train", "b.jpg,7,1,query", "c.jpg,7,2,gallery", "d.jpg,9,1,gallery")


def with_cameras(shots: int = 3, cameras=("door", "yard")) -> dict[str, int]:
    return {f"{person}/{camera}": shots for person in PEOPLE for camera in cameras}


def without_cameras(shots: int = 4) -> dict[str, int]:
    return dict.fromkeys(PEOPLE, shots)


def valid_queries(dataset) -> int:
    sets = [
        FeatureSet(torch.randn(len(f), 4), torch.tensor(f.pid), torch.tensor(f.camid))
        for f in (dataset.query, dataset.gallery)
    ]
    return evaluate(*sets, same_camera_rule=dataset.has_cameras).num_valid


# --- The CSV -------------------------------------------------------------------------------------


def rows_of(dataset) -> list[tuple[str, int, int, str]]:
    return [
        (Path(row.path).name, row.pid, row.camid, split)
        for split, frame in dataset.splits().items()
        for row in frame.itertuples()
    ]


def test_numbers_stay_and_names_are_numbered(table):
    numbered = [
        ("a.jpg", 5, 2, "train"),
        ("b.jpg", 7, 1, "query"),
        ("c.jpg", 7, 2, "gallery"),
        ("d.jpg", 9, 1, "gallery"),
    ]
    dataset = data.load("own", table(*WHOLE))
    assert rows_of(dataset) == numbered and dataset.has_cameras and dataset.note == ""
    named = [row.replace(",5,2", ",bo,yard").replace(",1,", ",door,") for row in WHOLE]
    named = [
        row.replace("7,", "ann,").replace("9,", "cy,").replace(",2,", ",yard,") for row in named
    ]
    found = [(pid, camid) for _, pid, camid, _ in rows_of(data.load("own", table(*named)))]
    assert found == [(2, 2), (1, 1), (1, 2), (3, 1)]


def test_person_0_is_a_person(table):
    rows = [row.replace(",7,", ",0,") for row in WHOLE]
    dataset = data.load("own", table(*rows))
    assert dataset.summary().distractors.tolist() == [0, 0, 0]
    assert dataset.query.pid.tolist() == [1] and valid_queries(dataset) == 1


def test_without_cameras(table):
    rows = [row.replace(",1,", ",").replace(",2,", ",") for row in WHOLE]
    dataset = data.load("own", table(*rows, header="path,pid,split"))
    assert not dataset.has_cameras and "same-camera rule cannot apply" in dataset.note
    assert [camid for _, _, camid, _ in rows_of(dataset)] == [1, 2, 3, 4]
    assert dataset.summary().cameras.tolist() == [0, 0, 0] and valid_queries(dataset) == 1


def test_copies_of_queries_in_the_gallery_are_counted(table, tmp_path):
    table("a.jpg", "b.jpg")
    for name in ("c.jpg", "d.jpg"):
        shutil.copy(tmp_path / "b.jpg", tmp_path / name)
    rows = [
        "b.jpg,1,query",
        "e.jpg,2,query",
        "c.jpg,1,gallery",
        "d.jpg,1,gallery",
        "f.jpg,2,gallery",
    ]
    note = data.load("own", table(*rows, header="path,pid,split")).note
    assert "1 of 2 query images lie in the gallery, too, byte for byte" in note


def test_fingerprint_sees_labels_and_an_edited_photograph_of_the_same_size(table, tmp_path):
    first = data.load("own", table(*WHOLE)).fingerprint
    assert data.load("own", table(*WHOLE)).fingerprint == first
    swapped = [row.replace(",5,", ",9,") if row[0] == "a" else row for row in WHOLE]
    assert data.load("own", table(*swapped)).fingerprint != first
    content = bytearray((tmp_path / "a.jpg").read_bytes())
    content[-20] ^= 1
    (tmp_path / "a.jpg").write_bytes(content)
    assert data.load("own", table(*WHOLE)).fingerprint != first


def test_a_name_is_one_name_however_its_accent_is_written(table, tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "André") for form in ("NFC", "NFD"))
    write_image(tmp_path / f"{decomposed}.jpg")
    rows = [f"b.jpg,{decomposed},1,query", f"{composed}.jpg,{composed},2,gallery", WHOLE[0]]
    out = table("b.jpg", "a.jpg")
    out.write_text("\n".join(["path,pid,camid,split", *rows]))
    assert valid_queries(data.load("own", out)) == 1


def test_two_folders_whose_names_differ_in_the_accents_form_alone(photographs):
    """As a Mac and a Windows machine leave them on one disk: two folders, one person."""
    composed, decomposed = (unicodedata.normalize(form, "André") for form in ("NFC", "NFD"))
    people = without_cameras()
    folder = photographs(people)
    first, second = sorted(folder.iterdir())[:2]
    first.rename(folder / composed)
    second.rename(folder / decomposed)
    dataset = data.load("own", make_csv(folder))
    images = pd.concat(dataset.splits().values())
    assert images.path.is_unique and len(images) == sum(1 for _ in folder.glob("*/*"))
    assert images.pid.nunique() == len({*folder.iterdir()}) - 1


def test_where_it_may_be_and_who_wrote_it(table, tmp_path, own_cache):
    expected = data.load("own", table(*WHOLE))
    for encoding in ("utf-8-sig", "utf-8"):
        assert rows_of(data.load("own", table(*WHOLE, encoding=encoding).parent)) == rows_of(
            expected
        )
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as file:
        for name in ("own.csv", "a.jpg", "b.jpg", "c.jpg", "d.jpg"):
            file.write(tmp_path / name, f"photos/{name}")
    assert data.load("own", tmp_path / "photos.zip").fingerprint == expected.fingerprint


def test_said_and_not_refused(table, caplog):
    rows = [*WHOLE, "e.jpg,11,1,query", "f.jpg,7,1,train"]
    note = data.load("own", table(*rows)).note
    assert "Not in the gallery, and so not scored: 11." in note
    assert "Trained on and searched for: 7 (1 people)" in note and "not scored" in caplog.text


def test_without_training_images_it_is_for_ranking(table):
    dataset = data.load("own", table(*WHOLE[1:]))
    assert len(dataset.train) == 0 and valid_queries(dataset) == 1
    with pytest.raises(DataError, match=r"own has no images to train on.*add a train split"):
        dataset.train_labels()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*WHOLE, "e.jpg,9,1,test"], r"line 6: split is none of train, query, gallery \(path 'e"),
        ([*WHOLE, "e.jpg,,1,train"], r"line 6: pid is empty .*so 1 of 5 lines"),
        ([*WHOLE, "e.jpg,9,,train"], r"line 6: camid is empty, while other lines have one"),
        ([*WHOLE, "gone.png,9,1,train"], r"line 6: there is no such image .*gone\.png"),
        ([*WHOLE, "b.jpg,7,2,gallery"], r"line 6: the image was listed before .*b\.jpg"),
        ([*WHOLE, "e.jpg,9,1,train,more,yet"], r"own\.csv cannot be read as a CSV"),
        ([], r"none of the 0 people of split query is in split gallery \(query: nobody"),
        (WHOLE[:2], r"none of the 1 people of split query is in split gallery \(query: 7; gal"),
        (["a.jpg,1,1,query", "b.jpg,1,1,gallery"], r"only as seen by the same camera.*camid out"),
    ],
)
def test_bad_rows(table, rows, message):
    with pytest.raises(DataError, match=message):
        data.load("own", table(*rows))


def test_files_that_are_no_such_csv(table, tmp_path):
    with pytest.raises(DataError, match=r"lacks the column path, pid, split: .*'path;pid;split'"):
        data.load("own", table(header="path;pid;split"))
    table(*WHOLE, encoding="utf-16")
    with pytest.raises(
        DataError, match=r"cannot be read as a CSV in UTF-8 .*Expected a first line"
    ):
        data.load("own", tmp_path)
    (tmp_path / "own.csv").write_bytes(b"")
    with pytest.raises(DataError, match="cannot be read as a CSV"):
        data.load("own", tmp_path)
    (tmp_path / "own.csv").unlink()
    with pytest.raises(DataError, match=r"own was not found: .*own\.csv.*own FOLDER writes it"):
        data.load("own", tmp_path)
    with pytest.raises(DataError, match=r"other\.csv does not exist"):
        data.load("own", tmp_path / "other.csv")
    table(*WHOLE)
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.jpg is empty"):
        data.load("own", tmp_path)


# --- From a folder of people ---------------------------------------------------------------------


def made(folder: Path, out: Path | None = None, seed: int = 0) -> pd.DataFrame:
    return pd.read_csv(make_csv(folder, out, seed), dtype=str)


def test_half_of_the_people_are_searched_for(photographs):
    folder = photographs(with_cameras())
    dataset = data.load("own", make_csv(folder))
    # 3 people x 2 cameras x 3 images: one of each camera asks, two can be found.
    assert [len(frame) for frame in dataset.splits().values()] == [18, 6, 12]
    assert not set(dataset.train.pid) & set(dataset.query.pid)
    assert dataset.query.groupby(["pid", "camid"]).size().tolist() == [1] * 6
    assert dataset.has_cameras and valid_queries(dataset) == 6
    for frame in dataset.splits().values():
        for row in frame.itertuples():
            person, camera = Path(row.path).parts[-3:-1]
            assert row.pid == 1 + PEOPLE.index(person)
            assert row.camid == 1 + ["door", "yard"].index(camera)


def test_a_csv_that_cannot_be_written_is_named(photographs):
    folder = photographs(without_cameras())
    with pytest.raises(ReidlabError, match=r"/proc/mine/own\.csv could not be written"):
        make_csv(folder, "/proc/mine/own.csv")


def test_people_without_cameras(photographs):
    dataset = data.load("own", make_csv(photographs(without_cameras())))
    assert [len(frame) for frame in dataset.splits().values()] == [12, 3, 9]
    assert not dataset.has_cameras and valid_queries(dataset) == 3


@pytest.mark.parametrize(
    ("own", "queries"),
    [
        ({"door": 1, "yard": 1}, 1),  # one asks, the other is found
        ({"door": 1, "yard": 4}, 1),  # the door's only image stays to be found
        ({"door": 2, "yard": 2, "hall": 1}, 2),
        ({"door": 1, "yard": 1, "hall": 1}, 1),
    ],
)
def test_every_query_keeps_a_match(photographs, tmp_path, own, queries):
    counts = {f"{person}/{camera}": n for person in PEOPLE for camera, n in own.items()}
    folder = photographs(counts)
    for seed in range(5):
        dataset = data.load("own", make_csv(folder, tmp_path / f"{seed}.csv", seed))
        assert valid_queries(dataset) == len(dataset.query) == 3 * queries
        assert len(dataset.query) + len(dataset.gallery) == 3 * sum(own.values())


def test_whom_one_camera_saw_is_trained_on(photographs):
    rows = made(photographs(with_cameras() | {"gabi/door": 5}))
    assert set(rows[rows.pid == "gabi"].split) == {"train"}


def test_same_seed_same_split_and_a_new_person_changes_nobody_elses_queries(photographs, tmp_path):
    folder = photographs(with_cameras(5))
    first = made(folder, tmp_path / "first.csv")
    assert first.equals(made(folder, tmp_path / "again.csv"))
    moved = made(shutil.copytree(folder, tmp_path / "elsewhere" / "copy"))
    assert first.drop(columns="path").equals(moved.drop(columns="path"))
    assert moved.path.str.startswith("copy/").all(), "beside the folder, relative"
    splits = {tuple(made(folder, tmp_path / f"{n}.csv", n).split) for n in range(6)}
    assert len(splits) > 3, "the seed matters"
    photographs({"zoe/door": 2, "zoe/yard": 2})
    after = made(folder, tmp_path / "after.csv")
    both = first.merge(after, on="path")
    stay = {p for p, own in both.groupby("pid_x") if {*own.split_x} == {*own.split_y} != {"train"}}
    assert len(stay) >= 2
    both = both[both.pid_x.isin(stay)]
    assert (both.split_x == both.split_y).all()


def test_leftovers_are_ignored_and_every_kind_of_image_read(photographs):
    folder = photographs(without_cameras())
    for place in (folder, folder / "anna"):
        for name in (".DS_Store", "Thumbs.db", "._IMG_0001.jpg"):
            (place / name).write_bytes(b"x")
    for person, kind in zip(PEOPLE, ["png", "bmp", "webp", "tiff", "JPG", "jpeg"]):
        for file in (folder / person).glob("IMG*.jpg"):
            Image.open(file).save(file.with_suffix(f".{kind}"))
            file.unlink()
    assert len(made(folder)) == 24


def test_an_existing_csv_stays(photographs):
    folder = photographs(without_cameras())
    out = make_csv(folder)
    out.write_text("edited by hand")
    with pytest.raises(DataError, match=r"own\.csv exists\. Delete it"):
        make_csv(folder)
    assert out.read_text() == "edited by hand"


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (without_cameras(1), r"holds 6 people, of whom 0 have two images.*Add images\.$"),
        (without_cameras(1) | {"anna": 2}, r"of whom 1 have two images"),
        (dict(list(without_cameras().items())[:1]), r"holds 1 people.*at least 4"),
        (dict(list(without_cameras().items())[:3]), r"holds 3 people.*at least 4"),
        (with_cameras(cameras=["door"]), r"0 have two cameras \(anna: door;.*straight into their"),
        ({f"{p}/{p}s-door": 3 for p in PEOPLE}, r"\(anna: annas-door; bert: berts-door"),
        ({}, r"photographs: it is empty; expected person/image"),
        (
            with_cameras() | {"gabi": 2},
            r"found .*anna/door/IMG_0000\.jpg and .*gabi/IMG_0000\.jpg",
        ),
        (with_cameras() | {"anna/door/monday": 1}, r"anna/door/monday/IMG_0000\.jpg; expected"),
        ({"all/photos/anna/door": 3}, r"expected person/image or, with cameras, person/camera/im"),
    ],
)
def test_folders_that_cannot_be_split(photographs, counts, message):
    with pytest.raises(DataError, match=message):
        make_csv(photographs(counts))


def test_files_beside_the_people_and_an_absent_folder(photographs, tmp_path):
    folder = photographs(without_cameras())
    write_image(folder / "group.jpg")
    with pytest.raises(DataError, match=r"found .*and .*group\.jpg; expected person/image"):
        make_csv(folder)
    with pytest.raises(DataError, match=r"nowhere does not exist"):
        make_csv(tmp_path / "nowhere")


def test_files_that_cannot_be_read(photographs):
    folder = photographs(without_cameras())
    (folder / "anna" / "empty.jpg").write_bytes(b"")
    (folder / "bert" / "text.png").write_text("not an image")
    (folder / "cleo" / "IMG_1.HEIC").write_bytes(b"x")
    (folder / "dora" / "link.jpg").write_bytes(b"x")
    with pytest.raises(DataError) as error:
        make_csv(folder)
    message = str(error.value)
    assert message.startswith(f"{folder}: 4 of 28 files are no images to read.")
    for name in ("empty.jpg cannot be", "text.png cannot be", "IMG_1.HEIC cannot be"):
        assert name in message
    (folder / "dora" / "link.jpg").unlink()
    (folder / "dora" / "link.jpg").symlink_to("/nowhere")
    with pytest.raises(DataError, match=r"dora/link\.jpg is a link to nothing"):
        make_csv(folder)


@pytest.mark.parametrize("sign", ["\r", "\n", "\t", "\x85", "\u2028", "\x1b"])
@pytest.mark.parametrize("place", ["an{}na/door", "anna/door{}"])
def test_names_that_a_table_would_lose(photographs, sign, place):
    folder = photographs(with_cameras() | {place.format(sign): 1})
    with pytest.raises(DataError, match=r"a line end or another control char") as error:
        make_csv(folder)
    assert sign not in str(error.value) and "Rename it" in str(error.value)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("..", "a link to a folder that it lies in"),
        (".", "a link to a folder that it lies in"),
        ("loop", "a link that cannot be followed (Too many levels of symbolic links)"),
        ("nowhere", "a link to nothing"),
    ],
)
def test_folders_without_an_end(photographs, target, message):
    folder = photographs(with_cameras())
    (folder / "anna" / "loop").symlink_to(target)
    with pytest.raises(DataError, match=re.escape(f"photographs/anna/loop is {message}. ")):
        make_csv(folder)


def test_folders_with_links_to_each_other(photographs):
    folder = photographs(with_cameras())
    (folder / "anna" / "b").symlink_to("../bert")
    (folder / "bert" / "a").symlink_to("../anna")
    with pytest.raises(DataError, match=r"anna/b/a is a link to a folder that it lies in"):
        make_csv(folder)


def test_a_folder_that_is_a_link_to_itself(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(DataError, match="loop does not exist"):
        make_csv(tmp_path / "loop")


def test_a_link_to_another_folder_is_followed(photographs):
    folder = photographs(with_cameras())
    shutil.move(folder / "anna", folder.parent / "elsewhere")
    (folder / "anna").symlink_to(folder.parent / "elsewhere")
    assert len(pd.read_csv(make_csv(folder))) == 36


def test_whole_photographs_instead_of_cut_out_people(photographs, caplog):
    folder = photographs(without_cameras())
    exif = Image.Exif()
    exif[0x0112] = 6
    files = sorted(folder.rglob("*.jpg"))
    for file in files[:13]:
        write_image(file, size=(128, 64))
    for file in files[13:]:  # stored wide, upright in every viewer
        Image.new("RGB", (128, 64)).save(file, exif=exif)
    make_csv(folder)
    assert "13 of 24 images are wider than high" in caplog.text


# --- Training and notebooks ----------------------------------------------------------------------


def test_training_ranks_without_the_rule_where_there_are_no_cameras(
    photographs, tmp_path, own_cache, monkeypatch
):
    asked = []

    def spy(*sets, same_camera_rule=True, **settings):
        asked.append(same_camera_rule)
        return evaluate(*sets, same_camera_rule=same_camera_rule, **settings)

    monkeypatch.setattr(train, "evaluate", spy)
    config = TrainConfig("own", height=32, width=16, epochs=0, device="cpu")
    run = fit(config, tmp_path / "run", make_csv(photographs(without_cameras())))
    assert run.metrics["num_valid"] == 3
    others = photographs(with_cameras(), "others")
    fit(config, tmp_path / "run2", make_csv(others, tmp_path / "others.csv"))
    assert asked == [False, True]


def execute(notebook: str, **parameters) -> dict:
    """Run the code cells of a notebook here and now; returns its variables."""
    cells = nbformat.read(paths.NOTEBOOKS / f"{notebook}.ipynb", as_version=4).cells
    variables: dict = {"display": lambda *shown: None}
    for cell in cells:
        if cell.cell_type == "code":
            exec(cell.source, variables)
        if "parameters" in cell.metadata.get("tags", []):
            assert set(parameters) <= set(variables)
            variables |= parameters
    return variables


@pytest.mark.parametrize("name", ["01-data", "06-retrieval"])
def test_photographs_on_screen_are_in_no_saved_notebook(photographs, tmp_path, monkeypatch, name):
    """Executed as in JupyterLab and saved with all that it keeps, widgets' states too."""
    monkeypatch.setenv("REIDLAB_DATA", str(make_csv(photographs(with_cameras()))))
    monkeypatch.setenv("REIDLAB_RESULTS", str(tmp_path / "results"))
    run = fit(TrainConfig("own", height=32, width=16, epochs=0, device="cpu"), tmp_path / "run")
    monkeypatch.delenv("REIDLAB_BATCH")  # somebody watches
    notebook = nbformat.read(paths.NOTEBOOKS / f"{name}.ipynb", as_version=4)
    given = {"01-data": "dataset = other = 'own'", "06-retrieval": "failures = 2"}[name]
    finished = f"study.network = lambda *_: load_run(Path({str(run.path)!r}))"
    notebook.cells[1].source += (
        f"\nshow_photographs = True\n{given}\nfrom pathlib import Path\n"
        f"from reidlab import study\nfrom reidlab.runs import load_run\n{finished}"
    )
    NotebookClient(notebook, resources={"metadata": {"path": paths.NOTEBOOKS}}).execute()
    saved = nbformat.writes(notebook)
    shown = re.findall(r'<img src=\\"([^"]+)\\"', saved)
    assert len(shown) == 3
    for file in ((paths.NOTEBOOKS / name).resolve() for name in shown):
        assert Image.open(file).width > 500
        assert file.parent == PRIVATE
        file.unlink()
    pictures = "image/jpeg" in saved  # but for those of generated people
    assert pictures == (name == "01-data") and "data:image" not in saved
    assert suspicion(f"notebooks/{name}.ipynb", saved.encode()) is None
    written = {file.stem for file in (tmp_path / "results").rglob("*.png")}
    assert written and not written & {"triplets", "ranked-lists", "01-samples", "01-domains"}


@pytest.mark.parametrize("cameras", [False, True])
def test_notebooks_on_data_and_retrieval(photographs, tmp_path, monkeypatch, cameras):
    folder = photographs(with_cameras() if cameras else without_cameras())
    monkeypatch.setenv("REIDLAB_DATA", str(make_csv(folder)))
    monkeypatch.setenv("REIDLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("REIDLAB_RESULTS", str(tmp_path / "results"))
    about = execute("01-data", dataset="own", other="own")
    assert ("8 stripes, cameras levelled" in set(about["scores"].feature)) == cameras
    assert ("cameras" in about) == cameras

    config = TrainConfig("own", height=32, width=16, epochs=0, device="cpu")
    run = fit(config, tmp_path / "run")
    monkeypatch.setattr(study, "network", lambda *_: run)
    found = execute("06-retrieval", run="tiny", quantiles=[1.0, 0.0], failures=2)
    assert found["ranking"].num_valid == len(found["per_query"])
    assert ("cameras" in found) == cameras
    assert 100 * found["ranking"].mAP == pytest.approx(run.metrics["mAP"], abs=0.5)
