"""Thresholds of a run, kept in its folder, and verdicts on two images."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from reidlab import data
from reidlab.common.errors import DataError, ReidlabError, StudyError
from reidlab.evaluation.features import embed
from reidlab.models.weights import save_weights
from reidlab.runs.folder import load_model, load_run
from reidlab.training.loop import TrainConfig, fit
from reidlab.verification import thresholds as c
from tests.conftest import write_image
from tests.verification.test_pairs import images, naive, values

RATES = (0.3, 0.1)
QUICK = {"distance": "euclidean", "rates": RATES, "samples": 20}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A small set of photographs, and a run of a network with random weights on it."""
    folder = tmp_path_factory.mktemp("set")
    for split, pids, shots in (
        ("bounding_box_train", (2, 7, 11, 1500), 3),
        ("query", (1, 3, 5), 1),
        ("bounding_box_test", (1, 3, 5), 2),
    ):
        for pid in pids:
            for camera in (1, 2):
                for shot in range(shots):
                    name = f"{pid:04d}_c{camera}s1_{shot:06d}_{shots:02d}.jpg"
                    write_image(folder / split / name, pid + 10_000 * camera + shot)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REIDLAB_CACHE", str(folder.parent / "cache"))
        patch.setenv("REIDLAB_DATA", str(folder))
        config = TrainConfig(
            *("market-layout", "osnet_x0_25"),
            **{"height": 64, "width": 32, "epochs": 0, "device": "cpu", "precision": "float32"},
        )
        fit(config, folder.parent / "runs" / "first")
        yield folder


@pytest.fixture
def run(place, tmp_path):
    """The run, in a folder that a test may change."""
    folder = tmp_path / "runs" / "first"
    shutil.copytree(place.parent / "runs" / "first", folder)
    return load_run(folder)


def test_thresholds_are_those_of_the_training_people_and_kept(place, run):
    made = c.calibrate(run, **QUICK)
    features = c.run_features(run)
    assert features.people == made.people == c.UNSEEN  # random weights have seen nobody
    genuine, impostor = naive(features.calibration)
    assert made.pairs["calibration_genuine"] == len(genuine) == 4 * 9
    assert made.pairs["calibration_impostor"] == len(impostor)
    test_genuine, test_impostor = map(values, naive(features.query, features.gallery))
    assert made.pairs["test_impostor"] == len(test_impostor)
    for point in made.points[:2]:
        assert np.mean(values(impostor) < point["threshold"]) <= point["wanted_fmr"]
        assert point["fmr"] == pytest.approx(np.mean(test_impostor < point["threshold"]))
        assert point["fnmr"] == pytest.approx(np.mean(test_genuine >= point["threshold"]))
    assert [point["point"] for point in made.points] == ["30 %", "10 %", "EER"]
    assert c.load_calibration(run) == made
    assert json.loads((run.path / c.FILE).read_text())["points"][2]["wanted_fmr"] is None


def test_cosine_is_the_default_and_thresholds_are_of_their_distance(run):
    made = c.calibrate(run, rates=RATES, samples=20)
    assert made.distance == "cosine"
    _, impostor = naive(c.run_features(run).calibration, distance="cosine")
    assert np.mean(values(impostor) < made.points[0]["threshold"]) == pytest.approx(0.3, abs=0.02)


def test_a_rate_with_too_few_pairs_is_left_out_and_named(run):
    made = c.calibrate(run, rates=(0.1, 1e-9), samples=20)
    assert [point["point"] for point in made.points] == ["10 %", "EER"]
    with pytest.raises(ReidlabError, match=r"fmr=1e-09.*10 %, EER.*1 / rate impostor pairs"):
        made.point(1e-9)


def test_verdict_is_distance_against_threshold_whatever_the_images_come_as(place, run):
    made = c.calibrate(run, **QUICK)
    one, two = sorted((place / "query").glob("*.jpg"))[:2]
    dataset = data.load("market-layout", place)
    query = embed(load_model(run), dataset.query, 64, 32, "cpu", "float32")
    expected = float((query.features[0] - query.features[1]).norm())
    verdict = c.verify(one, str(two), run, fmr=0.3)
    point = made.points[0]
    assert verdict.distance == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert verdict.same == (verdict.distance < point["threshold"])
    assert (verdict.fmr, verdict.fnmr, verdict.wanted_fmr) == (point["fmr"], point["fnmr"], 0.3)
    verifier = c.Verifier(run)
    swapped = verifier(Image.open(two), np.asarray(Image.open(one)), "EER")
    assert swapped.distance == pytest.approx(verdict.distance, abs=1e-6)
    assert swapped.threshold == made.points[2]["threshold"] and swapped.wanted_fmr is None
    assert verifier(one, one, 0.3).same and verifier(one, one, 0.3).distance < 1e-6


def test_a_grey_or_transparent_picture_is_compared_as_rgb(run):
    c.calibrate(run, **QUICK)
    verifier = c.Verifier(run)
    grey = np.tile(np.arange(64, dtype=np.uint8), (128, 1))
    coloured = np.repeat(grey[:, :, None], 3, axis=2)
    assert verifier.distance(grey, coloured) < 1e-6
    assert verifier.distance(Image.fromarray(coloured).convert("RGBA"), coloured) < 1e-6
    assert verifier.distance(grey, grey.T.copy()) > 1e-3


def test_flip_tested_runs_compare_with_the_mirror_image(run):
    made = c.calibrate(run, **QUICK)
    rng = np.random.default_rng(0)
    picture = np.asarray(
        Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((32, 64))
    )
    mirrored = picture[:, ::-1].copy()
    plain = c.Verifier(run)
    both = c.Verifier(run, dataclasses.replace(made, flip_test=True))
    assert both.distance(picture, mirrored) < 0.01 * plain.distance(picture, mirrored)


@pytest.mark.parametrize(
    ("config", "people"),
    [
        ({"epochs": 3}, c.SEEN),
        ({"init": "none"}, c.UNSEEN),
        ({"init": "imagenet"}, c.UNSEEN),
        ({"init": "reid:some.pth"}, c.UNKNOWN),
        ({"init": "run:elsewhere"}, c.UNSEEN),
        ({"init": "run:same"}, c.SEEN),
        ({"init": "run:gone"}, c.UNKNOWN),
    ],
)
def test_who_has_been_seen(run, config, people):
    for name, dataset in (("elsewhere", "other"), ("same", run.config["dataset"])):
        folder = run.path.parent / name
        folder.mkdir()
        source = run.config | {"dataset": dataset, "epochs": 5}
        (folder / "config.json").write_text(json.dumps(source))
    changed = dataclasses.replace(run, config=run.config | config)
    assert c._has_seen(changed) == people


def test_people_held_out_whole_are_preferred(place, run):
    held = dataclasses.replace(run, config=run.config | {"val_identities": 2, "epochs": 3})
    features = c.run_features(held)
    assert features.people == c.UNSEEN
    assert len(features.calibration.pids.unique()) == 2 and len(features.calibration.pids) == 12


def test_missing_damaged_and_foreign_calibrations_are_refused(run):
    with pytest.raises(StudyError, match=r"calibration\.json is missing.*calibrate"):
        c.verify("a.jpg", "b.jpg", run)
    made = c.calibrate(run, **QUICK)
    (run.path / c.FILE).write_text('{"run": "first"}')
    with pytest.raises(StudyError, match=r"calibration\.json is no calibration.*calibrate"):
        c.load_calibration(run)
    (run.path / c.FILE).write_text("{half")
    with pytest.raises(StudyError, match="is no calibration"):
        c.load_calibration(run)
    c.calibrate(run, **QUICK)
    model = load_model(run)
    model.conv1.conv.weight.data += 1
    save_weights(model, run.path / "model.safetensors", {"model": "osnet_x0_25"})
    with pytest.raises(StudyError, match=r"belongs to other weights.*mean nothing"):
        c.load_calibration(run)
    with pytest.raises(StudyError, match=r"calibration given is of first.*Calibrate this run"):
        c.Verifier(run, made)
    (run.path / "model.safetensors").unlink()
    with pytest.raises(StudyError, match=r"model\.safetensors is missing.*ensure_runs"):
        c.load_calibration(run)


def test_bad_images_are_named(run, tmp_path):
    c.calibrate(run, **QUICK)
    verifier = c.Verifier(run)
    good = np.zeros((8, 8, 3), dtype=np.uint8)
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"text\.jpg cannot be read as an image"):
        verifier(good, tmp_path / "text.jpg", 0.3)
    with pytest.raises(DataError, match=r"gone\.jpg cannot be read"):
        verifier(tmp_path / "gone.jpg", good, 0.3)
    with pytest.raises(DataError, match=r"image_b is an array of float64 .*expected uint8"):
        verifier(good, good / 255, 0.3)
    with pytest.raises(DataError, match=r"image_a is an array.*\(3, 8, 8\)"):
        verifier(good.transpose(2, 0, 1), good, 0.3)
    with pytest.raises(DataError, match="image_a is a int"):
        verifier(5, good, 0.3)
    write_image(tmp_path / "cut.jpg")
    whole = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="image_b cannot be read"):
        verifier(good, Image.open(tmp_path / "cut.jpg"), 0.3)


def test_a_network_that_gives_nan_is_named(run):
    model = load_model(run)
    model.fc[0].weight.data[:] = 3e38
    save_weights(model, run.path / "model.safetensors", {"model": "osnet_x0_25"})
    with pytest.raises(ReidlabError, match="NaN, infinite"):
        c.calibrate(run, rates=RATES)
    features = c.RunFeatures(*(images(s, lowest=1) for s in (1, 2, 3)), c.SEEN)
    made = c.calibrate(run, features, **QUICK)

    good = np.full((8, 8, 3), 255, dtype=np.uint8)
    with pytest.raises(ReidlabError, match=r"NaN or infinite values for image_a and image_b"):
        c.Verifier(run, made)(good, good, 0.3)
