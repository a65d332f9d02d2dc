"""Thresholds of a run, kept in its folder, and decisions on two images."""

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
from reidlab.recipe.config import TrainConfig
from reidlab.runs.folder import load_model, load_run
from reidlab.training.loop import fit
from reidlab.verification import decisions as c
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
        fit(config, folder.parent / "runs" / "first" / "seed-0")
        yield folder


@pytest.fixture
def run(place, tmp_path):
    """The run, in a folder that a test may change."""
    folder = tmp_path / "runs" / "first" / "seed-0"
    shutil.copytree(place.parent / "runs" / "first" / "seed-0", folder)
    return load_run(folder)


def test_thresholds_are_those_of_the_training_people_and_kept(place, run):
    made = c.calibrate(run, **QUICK)
    features = c.people_features(run)
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
    assert c.Decider.load(run) == made
    assert json.loads((run.path / c.FILE).read_text())["points"][2]["wanted_fmr"] is None


def test_cosine_is_the_default_and_thresholds_are_of_their_distance(run):
    made = c.calibrate(run, rates=RATES, samples=20)
    assert made.distance == "cosine"
    _, impostor = naive(c.people_features(run).calibration, distance="cosine")
    assert np.mean(values(impostor) < made.points[0]["threshold"]) == pytest.approx(0.3, abs=0.02)


def test_a_rate_with_too_few_pairs_is_left_out_and_named(run):
    made = c.calibrate(run, rates=(0.1, 1e-9), samples=20)
    assert [point["point"] for point in made.points] == ["10 %", "EER"]
    with pytest.raises(ReidlabError, match=r"fmr=1e-09.*10 %, EER.*1 / rate impostor pairs"):
        made.point(1e-9)


def test_decision_is_distance_against_threshold_whatever_the_images_come_as(place, run):
    made = c.calibrate(run, **QUICK)
    one, two = sorted((place / "query").glob("*.jpg"))[:2]
    dataset = data.load("market-layout", place)
    query = embed(load_model(run), dataset.query, 64, 32, "cpu", "float32")
    expected = float((query.features[0] - query.features[1]).norm())
    decision = made.decide(one, str(two), fmr=0.3)
    point = made.points[0]
    assert decision.distance == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert decision.same == (decision.distance < point["threshold"])
    assert (decision.fmr, decision.fnmr, decision.wanted_fmr) == (point["fmr"], point["fnmr"], 0.3)
    decider = c.Decider.load(run)
    swapped = decider.decide(Image.open(two), np.asarray(Image.open(one)), "EER")
    assert swapped.distance == pytest.approx(decision.distance, abs=1e-6)
    assert swapped.threshold == made.points[2]["threshold"] and swapped.wanted_fmr is None
    assert decider.decide(one, one, 0.3).same and decider.decide(one, one, 0.3).distance < 1e-6


def test_a_grey_or_transparent_picture_is_compared_as_rgb(run):
    c.calibrate(run, **QUICK)
    decider = c.Decider.load(run)
    grey = np.tile(np.arange(64, dtype=np.uint8), (128, 1))
    coloured = np.repeat(grey[:, :, None], 3, axis=2)
    assert decider.between(grey, coloured) < 1e-6
    assert decider.between(Image.fromarray(coloured).convert("RGBA"), coloured) < 1e-6
    assert decider.between(grey, grey.T.copy()) > 1e-3


def test_flip_tested_runs_compare_with_the_mirror_image(run):
    made = c.calibrate(run, **QUICK)
    rng = np.random.default_rng(0)
    picture = np.asarray(
        Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((32, 64))
    )
    mirrored = picture[:, ::-1].copy()
    flipped = dataclasses.replace(run, config=run.config | {"flip_test": True})
    both = dataclasses.replace(made, run=flipped)
    assert both.between(picture, mirrored) < 0.01 * made.between(picture, mirrored)


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
        ({"epochs": 3, "val_identities": 2}, c.UNSEEN),
        ({"epochs": 3, "val_identities": 2, "init": "run:same"}, c.SEEN),
        ({"epochs": 3, "val_identities": 2, "init": "run:spared"}, c.UNSEEN),
        ({"epochs": 3, "val_identities": 2, "init": "reid:some.pth"}, c.UNKNOWN),
    ],
)
def test_who_has_been_seen(run, config, people):
    others = {"elsewhere": {"dataset": "other"}, "same": {}, "spared": {"val_identities": 2}}
    for name, settings in others.items():
        folder = run.path.parents[1] / name / "seed-0"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(run.config | {"epochs": 5} | settings))
    changed = dataclasses.replace(run, config=run.config | config)
    assert c.has_learned(changed) == people


def test_people_held_out_whole_are_preferred(place, run):
    held = dataclasses.replace(run, config=run.config | {"val_identities": 2, "epochs": 3})
    features = c.people_features(held)
    assert features.people == c.UNSEEN
    assert len(features.calibration.pids.unique()) == 2 and len(features.calibration.pids) == 12


def test_missing_damaged_and_foreign_thresholds_are_refused(run):
    with pytest.raises(StudyError, match=r"calibration\.json is missing.*calibrate"):
        c.Decider.load(run)
    c.calibrate(run, **QUICK)
    (run.path / c.FILE).write_text('{"run": "first"}')
    with pytest.raises(StudyError, match=r"calibration\.json holds no thresholds.*calibrate"):
        c.Decider.load(run)
    (run.path / c.FILE).write_text("{half")
    with pytest.raises(ReidlabError, match=r"calibration\.json"):
        c.Decider.load(run)
    c.calibrate(run, **QUICK)
    model = load_model(run)
    model.conv1.conv.weight.data += 1
    save_weights(model, run.path / "model.safetensors", {"model": "osnet_x0_25"})
    with pytest.raises(StudyError, match=r"belongs to other weights.*mean nothing"):
        c.Decider.load(run)
    (run.path / "model.safetensors").unlink()
    with pytest.raises(StudyError, match=r"model\.safetensors is missing.*study\.network"):
        c.Decider.load(run)


def test_bad_images_are_named(run, tmp_path):
    c.calibrate(run, **QUICK)
    decider = c.Decider.load(run)
    good = np.zeros((8, 8, 3), dtype=np.uint8)
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"text\.jpg cannot be read as an image"):
        decider.decide(good, tmp_path / "text.jpg", 0.3)
    with pytest.raises(DataError, match=r"gone\.jpg does not exist"):
        decider.decide(tmp_path / "gone.jpg", good, 0.3)
    with pytest.raises(DataError, match=r"b is an array of float64 .*expected uint8"):
        decider.decide(good, good / 255, 0.3)
    with pytest.raises(DataError, match=r"a is an array.*\(3, 8, 8\)"):
        decider.decide(good.transpose(2, 0, 1), good, 0.3)
    with pytest.raises(DataError, match="a is a int"):
        decider.decide(5, good, 0.3)
    write_image(tmp_path / "cut.jpg")
    whole = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="b cannot be read"):
        decider.decide(good, Image.open(tmp_path / "cut.jpg"), 0.3)
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    first, rest, *more = (tmp_path / "noise.png").read_bytes().split(b"IDAT")[1:]
    head = (tmp_path / "noise.png").read_bytes().partition(b"IDAT")[0]
    damaged = head + b"IDAT" + first + b"\1\2\3\4" + rest + b"".join(more)
    (tmp_path / "noise.png").write_bytes(damaged)
    with pytest.raises(DataError, match=r"a cannot be read .*broken PNG.*a whole copy"):
        decider.decide(Image.open(tmp_path / "noise.png"), good, 0.3)


def test_a_network_that_gives_nan_is_named(run):
    model = load_model(run)
    model.fc[0].weight.data[:] = 3e38
    save_weights(model, run.path / "model.safetensors", {"model": "osnet_x0_25"})
    run = dataclasses.replace(run, provenance={})  # as if it had been trained so
    with pytest.raises(ReidlabError, match="NaN, infinite"):
        c.calibrate(run, rates=RATES)
    features = c.PeopleFeatures(*(images(s, lowest=1) for s in (1, 2, 3)), c.SEEN)
    made = c.calibrate(run, features, **QUICK)
    good = np.full((8, 8, 3), 255, dtype=np.uint8)
    with pytest.raises(ReidlabError, match="NaN or infinite values for a and b"):
        made.decide(good, good, 0.3)
