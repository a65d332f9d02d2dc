"""One's own pictures: a folder as people have them is searched, and what is not read is said."""

import csv
import dataclasses
import logging
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from PIL import Image

from reidlab.__main__ import main
from reidlab.common.errors import ReidlabError
from reidlab.data.image import read_image
from reidlab.evaluation.features import extract
from reidlab.models import build
from reidlab.models.weights import load_weights
from reidlab.pictures import look
from reidlab.pictures import network as networks
from reidlab.pictures.search import search


def rows(table):
    with open(table, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def pixels(file, network):
    return torch.from_numpy(read_image(file, network.height, network.width).copy())


def test_the_ranking_is_that_of_the_features_and_the_sheet_is_that_of_the_csv(
    people, shipped, tmp_path
):
    query = sorted((people / "query").glob("*.jpg"))[0]
    folder = people / "bounding_box_test"
    files = sorted(folder.glob("*.jpg"))
    page, table = search([query], folder, shipped, tmp_path, top=5)
    model = build("osnet_x0_25")
    load_weights(model, networks.SHIPPED)
    images = torch.stack([pixels(file, shipped) for file in [query, *files]])
    features = extract(model, images.permute(0, 3, 1, 2), progress=False)
    away = 1 - torch.cosine_similarity(features[:1], features[1:])
    order = away.argsort(stable=True)
    found = rows(table)
    assert [row["file"] for row in found] == [files[place].name for place in order]
    assert [int(row["rank"]) for row in found] == [*range(1, len(files) + 1)]
    np.testing.assert_allclose([float(row["distance"]) for row in found], away[order], atol=1e-4)
    assert found[0]["file"][:4] == query.name[:4]  # generated people are told apart
    sheet = BeautifulSoup(page.read_text(), "html.parser")
    shown = [tile.get_text(" ") for tile in sheet.find_all("li")]
    assert len(shown) == 5
    for text, row in zip(shown, found):
        assert row["file"] in text and f"{float(row['distance']):.3f}"[:4] in text
    assert all(image["src"].startswith("data:image/jpeg") for image in sheet.find_all("img"))


def test_a_folder_as_people_have_it_is_read_and_what_is_not_is_said_once_a_kind(
    photographs, shipped, tmp_path, caplog
):
    picture = next(photographs.glob("*.jpg"))
    (photographs / "notes.txt").write_text("a picture of nobody")
    (photographs / "film.mp4").write_bytes(bytes(100))
    (photographs / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    (photographs / "half.jpg").write_bytes(picture.read_bytes()[:700])
    (photographs / "empty.png").touch()
    (photographs / "gone.jpg").symlink_to("nowhere")
    (photographs / ".hidden.jpg").write_text("none")
    Image.new("RGB", (1, 1)).save(photographs / "dot.png")
    Image.new("L", (9000, 8000)).save(photographs / "vast.png")
    Image.new("LA", (400, 100)).save(photographs / "wide.png")
    (photographs / "more").mkdir()
    shutil.copy(picture, photographs / "more" / "bär <1>.jpg")
    with caplog.at_level(logging.WARNING, "reidlab"):
        page, table = search([picture], photographs, shipped, tmp_path / "out")
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 6
    for part in (
        "2 files left out: no picture of a format that is known here: .mp4 (1), .txt (1)",
        "3 files left out: cannot be read; damaged, cut short or closed to you: ",
        "1 file left out: HEIC, which the package pillow-heif reads",
        "1 file left out: more than 64,000,000 pixels; cut out one person a picture: vast.png",
        "1 file narrower than 16 pixels, taken all the same; what is said of them means little: "
        "dot.png",
        "1 file wider than high, taken all the same",
    ):
        assert sum(line.startswith(part) for line in said) == 1, part
    names = {row["file"] for row in rows(table)}
    assert {"dot.png", "wide.png"} < names and picture.name not in names
    assert "more/bär <1>.jpg" not in names  # the query's own bytes
    text = BeautifulSoup(page.read_text(), "html.parser").get_text()
    assert all(line in text for line in said) and "is left out (2)" in text


def test_a_picture_lies_as_its_exif_says_and_a_whole_cameras_is_read_small(photographs, shipped):
    upright = Image.open(next(photographs.glob("*.jpg"))).resize((1600, 3200))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.save(photographs / "upright.jpg", quality=95)
    upright.transpose(Image.Transpose.ROTATE_90).save(
        photographs / "turned.jpg", quality=95, exif=exif
    )
    files = [photographs / name for name in ("upright.jpg", "turned.jpg")]
    seen = [look.read(file, shipped.height, shipped.width) for file in files]
    assert [size for _, size in seen] == [(1600, 3200)] * 2
    whole = read_image(files[0], shipped.height, shipped.width).astype(int)
    assert all(np.abs(small - whole).mean() < 2 for small, _ in seen)


def test_features_are_made_once_for_each_content_and_network(
    photographs, shipped, tmp_path, own_cache
):
    made = []
    extract_them = shipped.load()

    def counting():
        return lambda images: made.append(len(images)) or extract_them(images)

    network = dataclasses.replace(shipped, load=counting)
    files = sorted(photographs.glob("*.jpg"))
    first = search(files[:1], photographs, network, tmp_path)[1].read_text()
    assert sum(made) == len(files)
    for file in files[1:]:
        file.touch()  # another time, the same bytes
    files[0].rename(photographs / "renamed.jpg")
    again = search([photographs / "renamed.jpg"], photographs, network, tmp_path)[1].read_text()
    assert sum(made) == len(files)
    assert again.replace("renamed.jpg", files[0].name) == first
    other = dataclasses.replace(network, key="another")
    search([files[1]], photographs, other, tmp_path)
    assert sum(made) == 2 * len(files)
    (own_cache / "pictures.sqlite").write_bytes(b"damaged" * 1000)
    with pytest.raises(ReidlabError, match=r"pictures\.sqlite.*delete it"):
        search([files[1]], photographs, network, tmp_path)


def test_a_search_whose_features_are_kept_needs_no_torch(people, shipped, tmp_path):
    query, folder = next((people / "query").glob("*.jpg")), people / "bounding_box_test"
    search([query], folder, shipped, tmp_path)
    code = "import sys; from reidlab.__main__ import main; main(sys.argv[1:]); "
    code += "sys.exit('torch' in sys.modules)"
    command = [sys.executable, "-c", code, "search", str(query), str(folder)]
    subprocess.run([*command, "--out", str(tmp_path / "again")], check=True)
    assert (tmp_path / "again/search.csv").read_text() == (tmp_path / "search.csv").read_text()


def test_a_checkpoint_a_run_and_an_onnx_file_rank_as_their_network(people, tmp_path, capsys):
    """A run's own weights are what its checkpoint and its export are."""
    folder = "results/embedded/runs/a-none"
    query, pictures = next((people / "query").glob("*.jpg")), people / "bounding_box_test"
    run = networks.find_network(networks.SHIPPED.parents[2] / folder)
    assert (run.height, run.width, run.dataset) == (128, 64, "synthetic-a")
    assert run.learnt() == ["synthetic-a"]
    weights = networks.SHIPPED.parents[2] / folder / "seed-0" / "model.safetensors"
    checkpoint = networks.find_network(weights, "osnet_x0_25", 128, 64)
    tables = [search([query], pictures, one, tmp_path)[1].read_text() for one in (run, checkpoint)]
    assert tables[0] == tables[1] and checkpoint.dataset is None
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    assert main(["export", str(weights.parent), str(tmp_path / "a.onnx")]) == 0
    exported = networks.find_network(tmp_path / "a.onnx")
    assert (exported.height, exported.width, exported.dataset) == (128, 64, "synthetic-a")
    found = rows(search([query], pictures, exported, tmp_path / "onnx")[1])
    expected = rows(tmp_path / "search.csv")
    away = {row["file"]: float(row["distance"]) for row in found}
    np.testing.assert_allclose(
        [away[row["file"]] for row in expected],
        [float(row["distance"]) for row in expected],
        atol=0.03,  # bfloat16 on processors that have it
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["gone.jpg", "{people}"], "gone.jpg does not exist. Name a picture"),
        (["{people}", "{people}"], "bounding_box_test is a folder. Name a picture"),
        (["{text}", "{people}"], "a.txt: no picture of a format"),
        (["{query}", "nowhere"], "nowhere is no folder"),
        (["{query}", "{empty}"], "holds no picture to be ranked for"),
        (["{query}", "{people}", "--network", "nowhere.pth"], "nowhere.pth does not exist"),
        (["{query}", "{people}", "--network", "{text}"], "name its network with --model"),
        (["{query}", "{people}", "--network", "{empty}"], "holds no finished run"),
        (["{query}", "{people}", "--network", "{text}", "--model", "osnet"], "no network 'osnet'"),
    ],
)
def test_mistakes_are_one_clear_error(arguments, complaint, people, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("none")
    known = {
        "people": people / "bounding_box_test",
        "query": next((people / "query").glob("*.jpg")),
        "empty": tmp_path / "empty",
        "text": tmp_path / "a.txt",
    }
    given = [argument.format(**known) for argument in arguments]
    assert main(["search", *given, "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert complaint in said and "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_a_foreign_onnx_file_and_features_that_are_no_numbers_are_refused(
    photographs, shipped, tmp_path
):
    pytest.importorskip("onnxruntime")
    (tmp_path / "a.onnx").write_text("none")
    with pytest.raises(ReidlabError, match=r"a\.onnx cannot be read as an ONNX file"):
        networks.find_network(tmp_path / "a.onnx")
    broken = dataclasses.replace(
        shipped, key="b", load=lambda: lambda images: np.full((len(images), 2), np.nan)
    )
    with pytest.raises(ReidlabError, match="NaN or infinite"):
        search([next(photographs.glob("*.jpg"))], photographs, broken, tmp_path)
