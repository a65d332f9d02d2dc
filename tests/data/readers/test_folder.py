"""Your own photographs: what is made of a folder of people, and what each bad folder says."""

import shutil
import zipfile
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image

from reidlab import data
from reidlab.common import paths
from reidlab.common.errors import DataError
from reidlab.data.readers.folder import load_folder
from reidlab.data.store import decode
from reidlab.metrics.scores import FeatureSet, evaluate
from reidlab.study import steps as study
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


def with_cameras(shots: int = 3, cameras=("door", "yard")) -> dict[str, int]:
    return {f"{person}/{camera}": shots for person in PEOPLE for camera in cameras}


def without_cameras(shots: int = 4) -> dict[str, int]:
    return dict.fromkeys(PEOPLE, shots)


def people(frame) -> set[str]:
    return {path.partition("/photographs/")[2].partition("/")[0] for path in frame.path}


def valid_queries(dataset) -> int:
    sets = [
        FeatureSet(torch.randn(len(f), 4), torch.tensor(f.pid), torch.tensor(f.camid))
        for f in (dataset.query, dataset.gallery)
    ]
    return evaluate(*sets, same_camera_rule=dataset.has_cameras).num_valid


# --- With cameras -------------------------------------------------------------------------------


def test_people_and_cameras_are_counted_by_name(photographs):
    dataset = data.load("folder", photographs(with_cameras()))
    assert dataset.has_cameras and dataset.note == "" and not dataset.images_are_public
    for frame in dataset.splits().values():
        for row in frame.itertuples():
            person, camera = Path(row.path).parts[-3:-1]
            assert row.pid == 1 + PEOPLE.index(person)
            assert row.camid == 1 + ["door", "yard"].index(camera)


def test_half_of_the_people_are_searched_for(photographs):
    dataset = data.load("folder", photographs(with_cameras()))
    assert len(people(dataset.train)) == len(people(dataset.query)) == 3
    assert people(dataset.query) == people(dataset.gallery)
    assert not people(dataset.train) & people(dataset.query)
    # 3 people x 2 cameras x 3 images: one of each camera asks, two can be found.
    assert [len(frame) for frame in dataset.splits().values()] == [18, 6, 12]
    assert dataset.query.groupby(["pid", "camid"]).size().tolist() == [1] * 6
    assert valid_queries(dataset) == 6


@pytest.mark.parametrize(
    ("own", "queries"),
    [
        ({"door": 1, "yard": 1}, 1),  # one asks, the other is found
        ({"door": 1, "yard": 4}, 1),  # the door's only image stays to be found
        ({"door": 2, "yard": 2, "hall": 1}, 2),
        ({"door": 1, "yard": 1, "hall": 1}, 1),
    ],
)
def test_every_query_keeps_a_match(photographs, own, queries):
    counts = {f"{person}/{camera}": n for person in PEOPLE for camera, n in own.items()}
    for seed in range(5):
        dataset = load_folder(photographs(counts), seed=seed)
        assert len(dataset.query) == 3 * queries
        assert valid_queries(dataset) == len(dataset.query)
        assert len(dataset.query) + len(dataset.gallery) == 3 * sum(own.values())


def test_whom_one_camera_saw_is_trained_on(photographs):
    counts = with_cameras() | {"gabi/door": 5}
    dataset = data.load("folder", photographs(counts))
    assert sum("gabi" in path for path in dataset.train.path) == 5
    assert len(dataset.train.pid.unique()) == 4


# --- Without cameras ----------------------------------------------------------------------------


def test_without_cameras(photographs):
    dataset = data.load("folder", photographs(without_cameras()))
    assert not dataset.has_cameras and "same-camera rule cannot apply" in dataset.note
    assert [len(frame) for frame in dataset.splits().values()] == [12, 3, 9]
    summary = dataset.summary().set_index("split")
    assert summary.cameras.to_dict() == {"train": 0, "query": 0, "gallery": 0}
    assert summary.identities.to_dict() == {"train": 3, "query": 3, "gallery": 3}
    camids = np.concatenate([frame.camid for frame in dataset.splits().values()])
    assert len(set(camids)) == len(camids) == 24
    assert valid_queries(dataset) == 3


def test_training_ranks_without_the_rule_where_there_are_no_cameras(
    photographs, tmp_path, own_cache, monkeypatch
):
    asked = []

    def spy(*sets, same_camera_rule=True, **settings):
        asked.append(same_camera_rule)
        return evaluate(*sets, same_camera_rule=same_camera_rule, **settings)

    monkeypatch.setattr(train, "evaluate", spy)
    config = TrainConfig("folder", height=32, width=16, epochs=0, device="cpu")
    run = fit(config, tmp_path / "run", photographs(without_cameras()))
    assert run.metrics["num_valid"] == 3
    fit(config, tmp_path / "run2", photographs(with_cameras(), "others"))
    assert asked == [False, True]


# --- The split ----------------------------------------------------------------------------------


def names(dataset, split: str) -> list[str]:
    root = "photographs" if "photographs" in dataset.query.path[0] else "copy"
    return [path.partition(f"/{root}/")[2] for path in dataset.splits()[split].path]


def test_same_seed_same_split_wherever_the_folder_is(photographs, tmp_path):
    folder = photographs(with_cameras(5))
    first = load_folder(folder)
    copy = shutil.copytree(folder, tmp_path / "elsewhere" / "copy")
    second = load_folder(copy)
    for split in first.splits():
        assert names(first, split) == names(second, split)
    assert first.fingerprint == second.fingerprint
    splits = {tuple(names(load_folder(folder, seed=seed), "query")) for seed in range(6)}
    assert len(splits) > 3, "the seed matters"


def test_a_new_person_changes_nobody_elses_queries(photographs):
    folder = photographs(with_cameras(5))
    before = load_folder(folder)
    photographs({"zoe/door": 2, "zoe/yard": 2})
    after = load_folder(folder)
    stay = people(before.query) & people(after.query)
    assert len(stay) >= 2
    kept = [
        [name for name in names(dataset, "query") if name.split("/")[0] in stay]
        for dataset in (before, after)
    ]
    assert kept[0] == kept[1]


def test_fingerprint_sees_an_image_change_hands(photographs):
    folder = photographs(with_cameras())
    before = data.load("folder", folder).fingerprint
    for camera in ("door", "yard"):
        one, other = folder / "anna" / camera, folder / "bert" / camera
        one.rename(folder / "swap")
        other.rename(one)
        (folder / "swap").rename(other)
    assert data.load("folder", folder).fingerprint != before


def test_split_by_hand(photographs):
    folder = photographs(
        {
            **{f"train/{person}/door": 2 for person in ("anna", "bert")},
            **{f"query/{person}/door": 1 for person in ("cleo", "dora")},
            **{f"gallery/{person}/yard": 2 for person in ("cleo", "dora", "emil")},
        }
    )
    dataset = data.load("folder", folder)
    assert [len(frame) for frame in dataset.splits().values()] == [4, 2, 6]
    assert dataset.train_labels().tolist() == [0, 0, 1, 1]
    assert set(dataset.query.pid) < set(dataset.gallery.pid)
    assert dataset.has_cameras and dataset.note == "" and valid_queries(dataset) == 2


def test_split_by_hand_without_training_images_is_for_ranking(photographs):
    folder = photographs({"query/anna": 1, "gallery/anna": 2, "gallery/bert": 1})
    dataset = data.load("folder", folder)
    assert len(dataset.train) == 0 and valid_queries(dataset) == 1
    assert dataset.summary().images.tolist() == [0, 1, 3]
    with pytest.raises(DataError, match=r"folder has no images to train on.*add a train split"):
        dataset.train_labels()


def test_split_by_hand_says_who_is_missing_and_who_is_known(photographs, caplog):
    folder = photographs(
        {"train/anna": 2, "query/anna": 1, "query/bert": 1, "gallery/anna": 2, "gallery/cleo": 1}
    )
    note = data.load("folder", folder).note
    assert "Not in gallery/, and so not scored: bert." in note
    assert "Trained on and searched for: anna (1 people)" in note
    assert "not scored: bert" in caplog.text


# --- Where it may be ----------------------------------------------------------------------------


def test_below_the_data_root_as_folder_and_as_zip(photographs, tmp_path, own_cache):
    folder = photographs(with_cameras())
    (tmp_path / "Market-1501-v15.09.15.zip").write_bytes(b"something else lies beside it")
    expected = data.load("folder", folder)
    assert data.load("folder", tmp_path).fingerprint == expected.fingerprint
    with zipfile.ZipFile(tmp_path / "photographs.zip", "w") as file:
        for path in sorted(folder.rglob("*.jpg")):
            file.write(path, path.relative_to(tmp_path))
        file.writestr("__MACOSX/._anna", b"x")
    shutil.rmtree(folder)
    for root in (tmp_path, tmp_path / "photographs.zip"):
        dataset = data.load("folder", root)
        assert dataset.fingerprint == expected.fingerprint
        assert names(dataset, "query") == names(expected, "query")


def test_leftovers_are_ignored(photographs):
    folder = photographs(without_cameras())
    for place in (folder, folder / "anna"):
        for name in (".DS_Store", "Thumbs.db", "._IMG_0001.jpg"):
            (place / name).write_bytes(b"x")
    assert len(data.load("folder", folder).train) == 12


@pytest.mark.parametrize("kind", ["png", "bmp", "webp", "tiff", "JPG", "jpeg"])
def test_other_kinds_of_images(photographs, kind, own_cache):
    folder = photographs(without_cameras())
    for file in folder.rglob("*.jpg"):
        image = Image.open(file)
        file.unlink()
        image.save(file.with_suffix(f".{kind}"))
    dataset = data.load("folder", folder)
    assert decode(dataset.gallery, 32, 16).shape == (9, 3, 32, 16)


# --- Bad input ----------------------------------------------------------------------------------


def test_one_image_a_person(photographs):
    with pytest.raises(
        DataError, match=r"holds 6 people, of whom 0 have more than one image.*Add"
    ):
        data.load("folder", photographs(without_cameras(1)))


def test_one_person_with_two_images_is_not_enough(photographs):
    with pytest.raises(DataError, match=r"of whom 1 have more than one image"):
        data.load("folder", photographs(without_cameras(1) | {"anna": 2}))


def test_no_second_camera(photographs):
    with pytest.raises(DataError, match=r"come from one camera, 'door'.*straight into each"):
        data.load("folder", photographs(with_cameras(cameras=["door"])))


def test_nobody_seen_by_two_cameras(photographs):
    counts = {f"{person}/{person}s-door": 3 for person in PEOPLE}
    message = r"6 people, of whom 0 were seen by two cameras \(anna: annas-door; bert: berts-door"
    with pytest.raises(DataError, match=message):
        data.load("folder", photographs(counts))


@pytest.mark.parametrize(("count", "words"), [(1, "one person only"), (3, "3 people")])
def test_too_few_people(photographs, count, words):
    counts = dict(list(without_cameras().items())[:count])
    with pytest.raises(DataError, match=rf"holds {words}"):
        data.load("folder", photographs(counts))


def test_nothing_at_all(photographs, tmp_path):
    with pytest.raises(DataError, match=r"photographs is empty. Put a folder for each person"):
        data.load("folder", photographs({}))
    with pytest.raises(DataError, match=r"nowhere does not exist.*make study DATA="):
        data.load("folder", tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"nowhere does not exist"):
        load_folder(tmp_path / "nowhere")


def test_empty_person(photographs):
    folder = photographs(without_cameras())
    (folder / "gabi").mkdir()
    with pytest.raises(DataError, match=r"gabi holds no image"):
        data.load("folder", folder)


def test_files_that_cannot_be_read(photographs):
    folder = photographs(without_cameras())
    (folder / "anna" / "empty.jpg").write_bytes(b"")
    (folder / "bert" / "text.png").write_text("not an image")
    (folder / "cleo" / "IMG_1.HEIC").write_bytes(b"x")
    (folder / "dora" / "notes.txt").write_text("x")
    with pytest.raises(DataError) as error:
        data.load("folder", folder)
    message = str(error.value)
    assert message.startswith(f"4 of 28 files in {folder} cannot be used as images")
    for name in ("empty.jpg (not an image", "text.png (not an image", "IMG_1.HEIC (not one of"):
        assert name in message
    assert "convert them to JPEG or PNG" in message


def test_many_bad_files_are_counted(photographs):
    folder = photographs(without_cameras())
    for number in range(8):
        (folder / "anna" / f"{number}.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match=r"8 of 32 files.* and 3 more"):
        data.load("folder", folder)


def test_truncated_image_is_named_when_decoded(photographs, own_cache):
    folder = photographs(without_cameras())
    file = folder / "anna" / "IMG_0000.jpg"
    file.write_bytes(file.read_bytes()[:-200])
    dataset = data.load("folder", folder)
    frame = next(f for f in dataset.splits().values() if str(file) in set(f.path))
    with pytest.raises(DataError, match=r"anna/IMG_0000\.jpg cannot be read as an image"):
        decode(frame, 32, 16)


def test_image_stored_on_its_side(photographs):
    folder = photographs(without_cameras())
    file = folder / "anna" / "IMG_0000.jpg"
    image = Image.open(file)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(file, exif=exif)
    with pytest.raises(DataError, match=r"IMG_0000\.jpg \(stored on its side: rotate it"):
        data.load("folder", folder)


def test_whole_photographs_instead_of_cut_out_people(photographs, caplog):
    folder = photographs(without_cameras())
    for file in folder.rglob("*.jpg"):
        write_image(file, size=(128, 64))
    data.load("folder", folder)
    assert "24 of 24 images are wider than high" in caplog.text


def test_files_beside_the_people(photographs):
    folder = photographs(without_cameras())
    write_image(folder / "group.jpg")
    with pytest.raises(DataError, match=r"group\.jpg lies beside the folders of people"):
        data.load("folder", folder)


def test_cameras_for_some_people_only(photographs):
    folder = photographs(with_cameras() | {"gabi": 2})
    with pytest.raises(DataError, match=r"mixes two layouts: .*anna/door/IMG.*gabi/IMG_0000\.jpg"):
        data.load("folder", folder)


def test_files_beside_cameras(photographs):
    folder = photographs(with_cameras())
    write_image(folder / "anna" / "IMG_7.jpg")
    with pytest.raises(DataError, match=r"anna mixes two layouts: IMG_7\.jpg is a file, door/"):
        data.load("folder", folder)


def test_a_folder_too_many(photographs):
    folder = photographs(with_cameras() | {"anna/door/monday": 1})
    with pytest.raises(DataError, match=r"door/monday is a folder too many"):
        data.load("folder", folder)


def test_query_without_gallery(photographs):
    folder = photographs({"query/anna": 1, "train/bert": 1})
    with pytest.raises(DataError, match=r"holds query/ but no gallery/"):
        data.load("folder", folder)


def test_people_beside_query_and_gallery(photographs):
    folder = photographs({"query/anna": 1, "gallery/anna": 1, "bert": 3})
    with pytest.raises(DataError, match=r"holds query/ and gallery/, and beside them bert"):
        data.load("folder", folder)


def test_query_and_gallery_share_nobody(photographs):
    folder = photographs({"query/anna": 1, "query/bert": 1, "gallery/Anna": 2})
    with pytest.raises(
        DataError, match=r"none of the 2 people in query/ is in gallery/ .*anna, b"
    ):
        data.load("folder", folder)


def test_query_and_gallery_of_one_camera(photographs):
    folder = photographs({"query/anna/door": 1, "gallery/anna/door": 2, "gallery/bert/yard": 2})
    with pytest.raises(
        DataError, match=r"in gallery/ only as seen by the same camera \(query/: d"
    ):
        data.load("folder", folder)


def test_market_layout_is_not_one_of_people(market_layout):
    with pytest.raises(DataError, match=r"Market-1501's layout.*load it as .market-layout"):
        data.load("folder", market_layout())


# --- Notebooks ----------------------------------------------------------------------------------


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


@pytest.mark.parametrize("cameras", [False, True])
def test_notebooks_on_data_and_retrieval(photographs, tmp_path, monkeypatch, cameras):
    folder = photographs(with_cameras() if cameras else without_cameras())
    monkeypatch.setenv("REIDLAB_DATA", str(folder))
    monkeypatch.setenv("REIDLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("REIDLAB_RESULTS", str(tmp_path / "results"))
    about = execute("01-data", dataset="folder", other="folder")
    assert ("8 stripes, cameras levelled" in set(about["scores"].feature)) == cameras
    assert ("cameras" in about) == cameras

    config = TrainConfig("folder", height=32, width=16, epochs=0, device="cpu")
    run = fit(config, tmp_path / "run")
    monkeypatch.setattr(study, "ensure_runs", lambda *_, **__: [run])
    found = execute("06-retrieval", run="tiny", quantiles=[1.0, 0.0], failures=2)
    assert found["ranking"].num_valid == len(found["per_query"])
    assert ("cameras" in found) == cameras
    assert 100 * found["ranking"].mAP == pytest.approx(run.metrics["mAP"], abs=0.5)
