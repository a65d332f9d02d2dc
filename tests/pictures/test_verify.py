"""Two pictures, a verdict, and what it is worth: the data set, its pairs, its rates, a doubt."""

import dataclasses
import json
import logging
import re

import numpy as np
import pytest
import torch
from PIL import Image

from reidlab import data
from reidlab.__main__ import main
from reidlab.common import paths
from reidlab.common.errors import StudyError
from reidlab.evaluation.features import embed
from reidlab.models import build
from reidlab.models.weights import load_weights
from reidlab.pictures import network as networks
from reidlab.pictures.search import search
from reidlab.pictures.verify import choose, thresholds_of, tried_on, verify
from reidlab.verification.pairs import CrossCameraPairs
from reidlab.verification.thresholds import SEEN, UNKNOWN, UNSEEN
from tests.pictures.test_search import rows

RUN = paths.ROOT / "results/embedded/runs/a-none"
WEIGHTS = RUN / "seed-0" / "model.safetensors"


@pytest.fixture(scope="session")
def pair(people):
    """A query, and what the shipped weight ranks first for it: generated people are told apart."""
    return (
        sorted((people / "query").glob("*.jpg"))[:1]
        + sorted((people / "bounding_box_test").glob("*.jpg"))[-1:]
    )


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A little data set of generated people, and the shipped weight's thresholds on it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REIDLAB_CACHE", str(tmp_path_factory.mktemp("tiny")))
        dataset = data.load("synthetic-tiny-a")
        yield dataset, choose(networks.find_network(), dataset)


def impostors(pairs):
    """Distances of all pairs of different people."""
    return torch.cat(
        [block.distances[block.distances.isfinite() & ~block.genuine] for block in pairs]
    )


def test_the_distance_is_that_of_the_search_and_the_exit_status_says_the_verdict(
    people, shipped, tmp_path, capsys
):
    query, folder = next((people / "query").glob("*.jpg")), people / "bounding_box_test"
    found = rows(search([query], folder, shipped, tmp_path)[1])
    threshold = thresholds_of(shipped).point(0.1)["threshold"]
    assert float(found[0]["distance"]) < threshold < float(found[-1]["distance"])
    for row, verdict, status in ((found[0], "same", 0), (found[-1], "different", 1)):
        for pictures in ((query, folder / row["file"]), (folder / row["file"], query)):
            assert main(["verify", *map(str, pictures), "--fmr", "0.1"]) == status
            said = capsys.readouterr().out
            assert said.startswith(f"{verdict}: distance {float(row['distance']):.3f}"[:-1])


def test_what_the_verdict_is_worth_is_said(pair, shipped):
    kept = thresholds_of(shipped)
    point = kept.point(0.01)
    decision = verify(*pair, shipped, kept)
    assert (decision.threshold, decision.fmr) == (point["threshold"], point["fmr"])
    assert decision.same == (decision.distance < decision.threshold)
    said = str(decision)
    for part in (
        f"the threshold {point['threshold']:.4f}",
        f"(FMR): {100 * point['fmr']:.3g} % of pairs of different people",
        f"(FNMR): {100 * point['fnmr']:.3g} % of pairs of one person",
        f"synthetic-a (generated people): {kept.pairs['test_impostor']:,} pairs",
        "whom the network has never seen",
        "not your cameras",
        "on market1501 (photographs) FMR is 7.59 %",
    ):
        assert part in said, part


def test_what_is_shipped_belongs_to_the_weight_and_photographs_let_more_pass(shipped):
    kept = thresholds_of(shipped)
    assert kept.people == UNSEEN and kept.dataset not in shipped.learnt()
    assert [other["dataset"] for other in kept.elsewhere] == ["synthetic-b", "market1501"]
    market = kept.elsewhere[1]
    # 3,368 queries and 13,115 gallery images of people: what Market-1501's labels allow.
    assert market["pairs"]["impostor"] + market["pairs"]["genuine"] < 3368 * 13115
    for point in kept.points:
        fmr, fnmr = market["rates"][point["point"]]
        assert fmr > point["fmr"] and 0 < fnmr < 1


def test_notebook_09_and_the_shipped_file_tell_the_same_rates(shipped):
    kept = thresholds_of(shipped)
    others = [other["rates"]["1 %"][0] for other in kept.elsewhere]
    rates = [f"{100 * rate:.1f} %" for rate in (kept.point(0.01)["fmr"], *others)]
    text = (paths.NOTEBOOKS / "09-verification.ipynb").read_text()
    said = text.partition("the shipped weight's threshold for a false match rate of 1 %")[2]
    assert re.findall(r"[\d.]+ %", said)[:3] == rates


def test_thresholds_are_those_of_all_pairs_of_the_data_set(tiny, shipped):
    dataset, kept = tiny
    assert kept.people == UNSEEN
    model = build("osnet_x0_25")
    load_weights(model, networks.SHIPPED)
    frames = [part[part.pid > 0] for part in (dataset.train, dataset.query, dataset.gallery)]
    train, query, gallery = (embed(model, frame, 128, 64, keep=False) for frame in frames)
    blocks = [*CrossCameraPairs(train, distance="cosine")]
    away = torch.cat(
        [block.distances[block.distances.isfinite() & ~block.genuine] for block in blocks]
    )
    point = kept.point(0.1)
    assert kept.pairs["calibration_impostor"] == len(away)
    assert (away < point["threshold"]).float().mean().item() == pytest.approx(0.1, abs=0.005)
    blocks = [*CrossCameraPairs(query, gallery, "cosine")]
    away = torch.cat(
        [block.distances[block.distances.isfinite() & ~block.genuine] for block in blocks]
    )
    share = (away < point["threshold"]).float().mean().item()
    assert point["fmr"] == pytest.approx(share, abs=0.005)


def test_thresholds_tried_elsewhere_have_the_rates_of_its_own_test_people(
    tiny, shipped, monkeypatch
):
    """On the data set that they were chosen on they do what was measured there."""
    dataset, kept = tiny
    there = tried_on(kept, shipped, dataset)
    assert there["pairs"] == {kind: kept.pairs[f"test_{kind}"] for kind in ("genuine", "impostor")}
    for point in kept.points:
        np.testing.assert_allclose(
            there["rates"][point["point"]], [point["fmr"], point["fnmr"]], atol=1e-6
        )


def test_a_data_set_serves_a_checkpoint_and_an_onnx_file_and_is_measured_once(
    pair, tmp_path, capsys, monkeypatch
):
    given = [*map(str, pair), "--on", "synthetic-tiny-a", "--fmr", "0.1"]
    of = {"checkpoint": ["--network", str(WEIGHTS), "--model", "osnet_x0_25"]}
    of["checkpoint"] += ["--height", "128", "--width", "64"]
    of["run"] = ["--network", str(RUN)]
    said = {}
    for name, source in of.items():
        assert main(["verify", *given, *source]) in (0, 1)
        said[name] = capsys.readouterr().out
    assert said["run"].splitlines()[:2] == said["checkpoint"].splitlines()[:2]
    assert "the network may have learned" in said["checkpoint"]
    assert "the network has never seen" in said["run"]  # another data set of generated people
    monkeypatch.setattr("reidlab.pictures.verify.choose", None)  # would be called
    assert main(["verify", *given, *of["run"]]) in (0, 1)
    assert capsys.readouterr().out == said["run"]


def test_an_onnx_file_decides_as_its_run(pair, tmp_path, capsys):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    assert main(["export", str(WEIGHTS.parent), str(tmp_path / "a.onnx")]) == 0
    exported, run = networks.find_network(tmp_path / "a.onnx"), networks.find_network(RUN)
    with pytest.raises(StudyError, match=r"a\.onnx: choose some with --on DATASET.*synthetic-a"):
        thresholds_of(exported)
    dataset = "synthetic-tiny-a"
    one, other = (
        verify(*pair, network, thresholds_of(network, dataset), 0.1) for network in (exported, run)
    )
    assert one.distance == pytest.approx(other.distance, abs=0.03)  # bfloat16
    assert one.threshold == pytest.approx(other.threshold, abs=0.03)
    assert one.measured_on == other.measured_on


def test_a_run_has_its_own_calibration_and_one_of_other_weights_is_refused(tmp_path, pair):
    run = networks.find_network(RUN)
    kept = thresholds_of(run)
    written = json.loads((RUN / "seed-0" / "calibration.json").read_text())
    assert kept.points == written["points"] and kept.people == SEEN
    with pytest.raises(StudyError, match="belongs to other weights"):
        thresholds_of(dataclasses.replace(run, weights="0" * 64))
    nobody = dataclasses.replace(run, learnt=lambda: ["reid:some.pth"], thresholds=None)
    with pytest.raises(StudyError, match="No thresholds are known for osnet_x0_25 of run a-none"):
        thresholds_of(nobody)
    assert choose(nobody, data.load("synthetic-tiny-a")).people == UNKNOWN


@pytest.mark.parametrize(
    ("pictures", "complaint"),
    [
        (["{a}", "{a}"], "are the same picture, byte for byte"),
        (["{a}", "copy.jpg"], "are the same picture, byte for byte"),
        (["{a}", "gone.jpg"], "gone.jpg does not exist. Name a picture"),
        (["{folder}", "{a}"], "is a folder. Name a picture"),
        (["{a}", "notes.txt"], "notes.txt: no picture of a format that is known here"),
        (["{a}", "a.heic"], "a.heic: HEIC, which the package pillow-heif reads"),
        (["{a}", "half.jpg"], "half.jpg: cannot be read; damaged, cut short"),
        (["{a}", "vast.png"], "vast.png: more than 64,000,000 pixels"),
        (["{a}", "{b}", "--fmr", "0.3"], "Take one of them"),
        (["{a}", "{b}", "--on", "nothing"], "nothing"),
        (["{a}", "{b}", "--network", "notes.txt"], "name its network with --model"),
        (["{a}", "{b}", "--network", "{weights}", "--model", "osnet_x0_25"], "--on DATASET"),
    ],
)
def test_mistakes_are_one_clear_error(pictures, complaint, pair, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    whole = pair[0].read_bytes()
    (tmp_path / "copy.jpg").write_bytes(whole)
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "notes.txt").write_text("none")
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    if "vast.png" in pictures:
        Image.new("L", (9000, 8000)).save(tmp_path / "vast.png")
    known = {"a": pair[0], "b": pair[1], "folder": tmp_path, "weights": WEIGHTS}
    assert main(["verify", *(one.format(**known) for one in pictures)]) == 2
    said = capsys.readouterr()
    assert complaint in said.err and "Traceback" not in said.err and not said.out


def test_a_rate_that_is_no_number_is_one_too(pair, capsys):
    with pytest.raises(SystemExit) as raised:
        main(["verify", *map(str, pair), "--fmr", "low"])
    assert raised.value.code == 2 and "--fmr: invalid" in capsys.readouterr().err


def test_a_tiny_and_a_lying_picture_are_taken_with_a_warning(pair, tmp_path, caplog):
    Image.new("RGB", (3, 5), "red").save(tmp_path / "tiny.png")
    Image.open(pair[0]).rotate(90, expand=True).save(tmp_path / "lying.png")
    given = [str(tmp_path / name) for name in ("tiny.png", "lying.png")]
    with caplog.at_level(logging.WARNING, "reidlab"):
        assert main(["verify", *given]) in (0, 1)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert said[0].startswith("1 file narrower than 16 pixels") and said[0].endswith("tiny.png")
    assert said[1].startswith("1 file wider than high") and said[1].endswith("lying.png")
