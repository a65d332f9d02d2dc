"""Training: resuming, reproducibility, run folders, and what each bad setting says."""

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch.nn import functional as F

from reidlab import data
from reidlab.common.errors import DataError, ReidlabError, StudyError
from reidlab.common.files import sha256
from reidlab.data.batches import (
    erase,
    flip_and_crop,
    hold_out,
    identity_batches,
    normalise,
    shuffled,
    take,
)
from reidlab.data.holdout import hold_out_identities
from reidlab.data.store import decode
from reidlab.evaluation.features import embed, extract, of_run
from reidlab.losses import BatchHardTriplet, LabelSmoothedCrossEntropy
from reidlab.metrics.scores import FeatureSet, evaluate
from reidlab.models import build
from reidlab.models.weights import load_weights, save_weights
from reidlab.recipe import RECIPES, TrainConfig
from reidlab.recipe.study import load
from reidlab.runs import folder as runs
from reidlab.training import loop as train
from reidlab.training.loop import fit
from tests.training.conftest import TINY


def weights_of(run):
    return runs.load_model(run).state_dict()


def same_weights(one, other):
    mine, theirs = weights_of(one), weights_of(other)
    return all(torch.equal(value, theirs[name]) for name, value in mine.items())


def test_report_recipe_is_the_seed_documents():
    report = dataclasses.asdict(RECIPES["report"])
    expected = {
        "height": 256,
        "width": 128,
        "flip": 0.5,
        "pad": 10,
        "batch_size": 16,
        "label_smoothing": 0.1,
        "lr": 3e-4,
        "weight_decay": 5e-4,
        "schedule": "plateau",
        "epochs": 10,
        "eval_every": 1,
        "erase": 0.0,
    }
    assert {key: report[key] for key in expected} == expected


def test_smoothed_cross_entropy_equals_its_formula_value_and_gradient():
    torch.manual_seed(0)
    logits = torch.randn(5, 7, requires_grad=True)
    labels = torch.tensor([0, 3, 6, 3, 1])
    LabelSmoothedCrossEntropy(0.1)(logits, labels).backward()
    naive_logits = logits.detach().clone().requires_grad_()
    total = 0.0
    for row, label in zip(naive_logits, labels):
        for c in range(7):
            q = 0.9 * (c == label) + 0.1 / 7
            total = total - q * torch.log(row[c].exp() / row.exp().sum())
    (total / 5).backward()
    torch.testing.assert_close(LabelSmoothedCrossEntropy(0.1)(logits, labels), total / 5)
    torch.testing.assert_close(logits.grad, naive_logits.grad)


def test_one_epoch_equals_a_plain_loop(root, tmp_path):
    """The loop of fit(), written out step by step with PyTorch's own parts."""
    config = dataclasses.replace(TINY, epochs=1)
    run = fit(config, tmp_path / "run", root)

    dataset = data.load("market-layout", root)
    images = decode(dataset.train, 32, 16)
    labels = torch.from_numpy(dataset.train_labels())
    torch.manual_seed(0)
    model = build("osnet_x0_25").to(memory_format=torch.channels_last)
    head = torch.nn.Linear(512, 4)
    torch.nn.init.normal_(head.weight, std=0.01)
    torch.nn.init.zeros_(head.bias)
    optimizer = torch.optim.AdamW(
        [*model.parameters(), *head.parameters()], lr=3e-4, weight_decay=5e-4, fused=True
    )
    learn, held = hold_out(labels.numpy(), 0.2, 0)
    rng = np.random.default_rng([0, 1])
    model.train()
    losses = []
    for index in shuffled(learn, 4, rng):
        batch = normalise(flip_and_crop(take(images, index), 0.5, 2, rng))
        rng.random(4)  # random erasing, switched off, draws who is spared
        loss = F.cross_entropy(head(model(batch).embedding), labels[index], label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        scores = head(model(normalise(take(images, torch.from_numpy(held)))).embedding)
        val = F.cross_entropy(scores, labels[held], label_smoothing=0.1).item()
    assert run.history.train_loss[0] == pytest.approx(np.mean(losses), rel=1e-5)
    assert run.history.val_loss[0] == pytest.approx(val, rel=1e-5)
    for name, value in weights_of(run).items():
        torch.testing.assert_close(value, model.state_dict()[name], msg=name)


def test_same_seed_is_bit_equal_and_another_is_not(root, tmp_path):
    first, second = (fit(TINY, tmp_path / name, root) for name in "ab")
    other = fit(dataclasses.replace(TINY, seed=1), tmp_path / "c", root)
    assert same_weights(first, second)
    assert first.metrics == second.metrics
    pd.testing.assert_frame_equal(first.per_query, second.per_query)
    assert not same_weights(first, other)


@pytest.mark.parametrize(
    ("optimizer", "schedule", "milestones"),
    [
        ("adamw", "plateau", []),
        ("adamw", "onecycle", []),
        ("amsgrad", "cosine", []),
        ("sgd", "step", [1, 3]),
        ("muon", "onecycle", []),
    ],
)
def test_interrupted_run_resumes_to_the_same_numbers(
    root, tmp_path, optimizer, schedule, milestones
):
    config = dataclasses.replace(
        TINY, epochs=4, optimizer=optimizer, schedule=schedule, milestones=milestones, erase=0.5
    )
    whole = fit(config, tmp_path / "whole", root)

    def interrupt(history):
        if len(history) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(config, tmp_path / "resumed", root, on_epoch=interrupt)
    assert not runs.is_complete(tmp_path / "resumed")
    seen = []
    resumed = fit(config, tmp_path / "resumed", root, on_epoch=lambda h: seen.append(len(h)))
    assert seen == [3, 4], "two epochs were left to do"
    assert resumed.metrics == whole.metrics
    timeless = ["train_seconds", "eval_seconds"]
    pd.testing.assert_frame_equal(
        resumed.history.drop(columns=timeless), whole.history.drop(columns=timeless)
    )
    assert same_weights(resumed, whole)


#: Every switch at once: 4 identities with 6 images each, all that `market_layout` has to train.
ALL_TRICKS = dataclasses.replace(
    TINY,
    epochs=4,
    schedule="cosine",
    warmup_epochs=1,
    sampler="identities",
    num_instances=2,
    triplet="soft",
    center_weight=5e-4,
    ema=0.9,
    sizes=[[2, 16, 16]],
    erase=0.5,
    val_fraction=0.0,
)


def test_interrupted_run_with_every_trick_resumes_to_the_same_numbers(root, tmp_path):
    whole = fit(ALL_TRICKS, tmp_path / "whole", root)

    def interrupt(history):
        if len(history) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(ALL_TRICKS, tmp_path / "resumed", root, on_epoch=interrupt)
    assert same_weights(fit(ALL_TRICKS, tmp_path / "resumed", root), whole)


@pytest.mark.parametrize(
    ("model", "sampler", "stop"), [("idla", "hard-pairs", 4), ("fpnn_bn", "growing-pairs", 5)]
)
def test_a_network_of_pairs_trains_resumes_and_is_ranked_like_any_other(
    root, tmp_path, model, sampler, stop
):
    config = dataclasses.replace(
        RECIPES["pairs-modern"],
        dataset="market-layout",
        model=model,
        sampler=sampler,
        height=60,
        width=40,
        pad=3,
        batch_size=4,
        epochs=stop + 1,
    )
    whole = fit(config, tmp_path / "whole", root)

    def interrupt(history):
        if len(history) == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(config, tmp_path / "resumed", root, on_epoch=interrupt)
    resumed = fit(config, tmp_path / "resumed", root)
    assert resumed.metrics == whole.metrics and same_weights(resumed, whole)

    network, dataset = runs.load_model(whole), data.load("market-layout", root)
    query, gallery = (
        normalise(decode(frame, 60, 40)) for frame in (dataset.query, dataset.gallery)
    )
    with torch.no_grad():
        matrix = torch.stack(
            [-network(one.expand(len(gallery), -1, -1, -1), gallery) for one in query.split(1)]
        )
    sets = (FeatureSet.of(torch.empty(0), part) for part in (dataset.query, dataset.gallery))
    ranking = evaluate(*sets, distance=matrix)
    pd.testing.assert_frame_equal(
        whole.per_query.reset_index(drop=True)[["first_match", "ap"]],
        ranking.per_query[["first_match", "ap"]],
        check_dtype=False,
    )
    with pytest.raises(StudyError, match="looks at pairs: an image alone has no features"):
        of_run(whole, dataset.query)


def test_every_trick_equals_a_plain_loop(root, tmp_path):
    """Two epochs at two sizes, with P x K batches, triplet, centres, warm-up and average."""
    # Small steps of SGD: AdamW's first ones go by the sign of gradients near zero, where rounding
    # decides, and so few images make large gradients.
    config = dataclasses.replace(
        ALL_TRICKS,
        epochs=2,
        batch_size=8,
        height=96,
        width=48,
        sizes=[[1, 64, 48]],
        pad=3,
        triplet="hinge",
        optimizer="sgd",
        lr=1e-7,
    )
    run = fit(config, tmp_path / "run", root)

    dataset = data.load("market-layout", root)
    labels = torch.from_numpy(dataset.train_labels())
    torch.manual_seed(0)
    model = build("osnet_x0_25").to(memory_format=torch.channels_last)
    head = torch.nn.Linear(512, 4)
    torch.nn.init.normal_(head.weight, std=0.01)
    torch.nn.init.zeros_(head.bias)
    centers = torch.randn(4, 512, requires_grad=True)
    parameters = [*model.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=1e-7, momentum=0.9, weight_decay=5e-4)
    triplet = BatchHardTriplet(0.3)
    averaged, history, everything = None, [], np.arange(24)
    for epoch, size, pad in [(1, (64, 48), 2), (2, (96, 48), 3)]:
        images = decode(dataset.train, *size)
        rng = np.random.default_rng([0, epoch])
        model.train()
        batches = list(identity_batches(labels.numpy(), everything, 4, 2, rng))
        steps, losses = len(batches), []
        rng = np.random.default_rng([0, epoch])
        # The sampler draws as the batches are asked for, so it runs again beside the others.
        for step, index in enumerate(identity_batches(labels.numpy(), everything, 4, 2, rng)):
            done = step / steps
            rate = 0.1 + 0.9 * done if epoch == 1 else 0.5 * (1 + np.cos(np.pi * done))
            optimizer.param_groups[0]["lr"] = 1e-7 * rate
            batch = erase(normalise(flip_and_crop(take(images, index), 0.5, pad, rng)), 0.5, rng)
            features = model(batch).embedding
            loss = F.cross_entropy(head(features), labels[index], label_smoothing=0.1)
            loss = loss + triplet(features, labels[index])
            loss = loss + 5e-4 * (features - centers[labels[index]]).square().sum(1).mean()
            optimizer.zero_grad()
            centers.grad = None
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                centers -= 0.5 * centers.grad / 5e-4  # Bag of Tricks divides the weight out
            losses.append(loss.item())
            state = {name: value.clone() for name, value in model.state_dict().items()}
            if averaged is None:
                averaged = state
            for name, value in state.items():
                if value.is_floating_point():
                    averaged[name] = 0.9 * averaged[name] + 0.1 * value
        history.append(np.mean(losses))
    assert run.history.train_loss.tolist() == pytest.approx(history, rel=1e-4)
    torch.manual_seed(0)
    start = dict(build("osnet_x0_25").named_parameters())
    ours = weights_of(run)
    # What the training did to each weight, not the weight: that hardly moves here.
    moved = torch.cat([(ours[name] - start[name]).flatten() for name in start])
    expected = torch.cat([(averaged[name] - start[name]).flatten() for name in start])
    assert expected.norm() > 1e-5
    assert (moved - expected).norm() < 0.1 * expected.norm()  # float32 rounds so small steps
    torch.testing.assert_close(ours["fc.1.running_mean"], averaged["fc.1.running_mean"])


def test_held_out_identities_replace_the_test_set(root, tmp_path):
    dataset = data.load("market-layout", root)
    held = hold_out_identities(dataset, 2)
    assert set(held.train.pid) | set(held.query.pid) == set(dataset.train.pid)
    assert not set(held.train.pid) & set(held.query.pid)
    assert held.query.pid.nunique() == 2
    assert not held.query.duplicated(["pid", "camid"]).any()
    own = pd.concat([held.train, held.query, held.gallery]).path
    assert sorted(own) == sorted(dataset.train.path), "every training image once, no other"
    config = dataclasses.replace(TINY, epochs=1, val_identities=2)
    run = fit(config, tmp_path / "run", root)
    assert set(run.per_query.pid) == set(held.query.pid)
    for count in (3, 9):
        with pytest.raises(ReidlabError, match=rf"val_identities={count}: .* 4 identities"):
            hold_out_identities(dataset, count)


def test_run_folder_tells_everything(root, tmp_path):
    run = fit(TINY, tmp_path / "run", root)
    assert run.config == dataclasses.asdict(TINY)
    assert list(run.history.epoch) == [1, 2]
    assert run.history[["train_loss", "val_loss", "rank1", "mAP"]].notna().all().all()
    assert len(run.per_query) == 3
    assert run.metrics["mAP"] == pytest.approx(100 * run.per_query.ap.mean())
    assert len(run.metrics["cmc"]) == 50
    assert run.provenance["dataset_fingerprint"] == data.load("market-layout", root).fingerprint
    assert run.provenance["seed"] == 0 and run.provenance["wall_seconds"] > 0
    assert run.provenance["libraries"]["torch"].startswith(torch.__version__.partition("+")[0])
    left = {path.name for path in run.path.iterdir()}
    assert left == {
        "config.json",
        "history.csv",
        "metrics.json",
        "per_query.parquet",
        "provenance.json",
        "model.safetensors",
    }
    table = runs.runs_table([run])
    assert table.loc[0, "run"] == "run" and table.loc[0, "mAP"] == run.metrics["mAP"]


def test_saved_network_gives_the_saved_numbers(root, tmp_path):
    run = fit(TINY, tmp_path / "run", root)
    dataset = data.load("market-layout", root)
    model = runs.load_model(run)
    sets = [
        embed(model, frame, 32, 16, "cpu", "float32") for frame in (dataset.query, dataset.gallery)
    ]
    assert evaluate(*sets).mAP * 100 == pytest.approx(run.metrics["mAP"], abs=1e-4)


def test_step_schedule_divides_by_ten_after_each_milestone(root, tmp_path):
    config = dataclasses.replace(
        TINY, epochs=4, optimizer="sgd", lr=0.1, schedule="step", milestones=[1, 3], eval_every=4
    )
    run = fit(config, tmp_path / "run", root)
    assert run.history.lr.tolist() == pytest.approx([0.1, 0.01, 0.01, 0.001])
    assert run.history.mAP.notna().tolist() == [False, False, False, True]


@pytest.mark.parametrize("name", ["market-none", "market-imagenet"])
def test_paper_recipe_made_small_learns_and_steps_its_schedule(root, tmp_path, name):
    # The profile needs a GPU; here each of its two recipes trains from end to end, with its steps
    # in proportion to 12 epochs, and SGD's rate to batches of 4.
    recipe = dataclasses.asdict(load("paper")[name].config)
    steps = [math.ceil(12 * epoch / recipe["epochs"]) for epoch in recipe["milestones"]]
    lr = recipe["lr"] * (4 / recipe["batch_size"] if recipe["optimizer"] == "sgd" else 1)
    small = {field: getattr(TINY, field) for field in ("dataset", "height", "width", "pad")}
    small |= {"epochs": 12, "eval_every": 12, "batch_size": 4, "init": "none", "device": "cpu"}
    config = TrainConfig(**recipe | small | {"milestones": steps, "lr": lr})
    run = fit(config, tmp_path / "run", root)
    assert config.model == "osnet_x1_0" and run.metrics["num_valid"] > 0
    loss = run.history.train_loss
    assert loss.tail(3).mean() < loss.head(3).mean()
    rates = run.history.lr / lr
    if recipe["schedule"] == "step":  # by ten, after each milestone
        passed = [sum(epoch >= step for step in config.milestones) for epoch in range(12)]
        assert rates.tolist() == pytest.approx([10.0**-number for number in passed])
    else:  # half a cosine, down to nothing
        assert rates.is_monotonic_decreasing and rates.iloc[-1] < 0.2


def test_run_older_than_a_setting_is_still_the_same_run(root, tmp_path):
    run = fit(TINY, tmp_path / "run", root)
    older = {key: value for key, value in run.config.items() if key != "milestones"}
    (run.path / "config.json").write_text(json.dumps(older))
    assert fit(TINY, tmp_path / "run", root).metrics == run.metrics


def test_complete_run_is_read_not_trained(root, tmp_path, monkeypatch):
    first = fit(TINY, tmp_path / "run", root)
    monkeypatch.setattr(train, "_Training", None)
    assert fit(TINY, tmp_path / "run", root).metrics == first.metrics


def test_zero_epochs_evaluate_the_initial_weights(root, tmp_path):
    source = fit(TINY, tmp_path / "source", root)
    config = dataclasses.replace(TINY, epochs=0, init="run:source")
    run = fit(config, tmp_path / "direct", root)
    assert run.metrics == source.metrics
    assert run.history.empty
    assert run.provenance["init_sha256"] == sha256(source.path / "model.safetensors")


def test_init_from_a_file_below_the_data_root(root, tmp_path):
    torch.manual_seed(5)
    save_weights(build("osnet_x0_25"), root / "w.safetensors", {})
    config = dataclasses.replace(TINY, epochs=0, init="reid:$DATA/w.safetensors")
    by_name = fit(config, tmp_path / "by-name", root)
    config = dataclasses.replace(config, init=f"reid:{root / 'w.safetensors'}")
    assert fit(config, tmp_path / "by-path", root).metrics == by_name.metrics


def test_features_do_not_depend_on_the_batch_size(root):
    torch.manual_seed(0)
    model = build("osnet_x0_25")
    images = decode(data.load("market-layout", root).train, 32, 16)
    whole = extract(model, images, 100, "cpu", "float32")
    parts = extract(model, images, 5, "cpu", "float32")
    assert whole.shape == (24, 512)
    torch.testing.assert_close(whole, parts, atol=1e-5, rtol=1e-4)


def test_flip_test_takes_the_mean_with_the_mirror_image(root, tmp_path):
    run = fit(dataclasses.replace(TINY, epochs=1, flip_test=True), tmp_path / "run", root)
    dataset, model = data.load("market-layout", root), runs.load_model(run)
    sets = []
    for frame in (dataset.query, dataset.gallery):
        images = decode(frame, 32, 16)
        both = [extract(model, x, None, "cpu", "float32") for x in (images, images.flip(3))]
        plain = embed(model, frame, 32, 16, "cpu", "float32")
        sets.append(plain._replace(features=(both[0] + both[1]) / 2))
        assert not torch.allclose(plain.features, sets[-1].features, atol=1e-3)
        mirrored = embed(model, frame, 32, 16, "cpu", "float32", mirror=True)
        torch.testing.assert_close(mirrored.features, sets[-1].features, atol=1e-4, rtol=1e-3)
    assert evaluate(*sets).mAP * 100 == pytest.approx(run.metrics["mAP"], abs=1e-3)


def test_folder_of_another_configuration_is_refused(root, tmp_path):
    fit(TINY, tmp_path / "run", root)
    with pytest.raises(StudyError, match=r"run holds a run of other settings \(lr, seed differ"):
        fit(dataclasses.replace(TINY, lr=1e-3, seed=9), tmp_path / "run", root)


def test_nan_loss_stops_and_keeps_the_last_good_epoch(root, tmp_path, monkeypatch):
    config = dataclasses.replace(TINY, epochs=3)
    genuine = train.normalise
    calls = []

    def poisoned(images):
        calls.append(1)
        # an epoch has 5 steps of 4 images and one validation batch
        return genuine(images) * (float("nan") if len(calls) == 8 else 1.0)

    monkeypatch.setattr(train, "normalise", poisoned)
    with pytest.raises(ReidlabError, match=r"loss is nan in epoch 2, step 2, at learning rate"):
        fit(config, tmp_path / "run", root)
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert len(state["history"]) == 1
    assert all(torch.isfinite(value).all() for value in state["model"].values())


@pytest.mark.parametrize("part", ["model", "objective", "averaged"])
@pytest.mark.parametrize("epoch", [1, 2])
def test_weights_that_break_in_an_epochs_last_step_are_not_kept(
    root, tmp_path, monkeypatch, epoch, part
):
    genuine, steps = train._Training._step, []

    def breaks(self, loss):
        genuine(self, loss)
        steps.append(loss)
        if len(steps) == 5 * epoch:  # an epoch has 5 steps: the loss is never seen again
            next(getattr(self, part).parameters()).data[0] = float("inf")

    monkeypatch.setattr(train._Training, "_step", breaks)
    message = f"weights are no numbers after epoch {epoch}, step 5, at learning rate 0.0003. Lower"
    with pytest.raises(ReidlabError, match=message):
        fit(dataclasses.replace(TINY, epochs=3, ema=0.9), tmp_path / "run", root)
    file = tmp_path / "run" / "checkpoint.pt"
    assert file.is_file() == (epoch == 2)
    if file.is_file():
        state = torch.load(file, weights_only=True)
        assert len(state["history"]) == 1
        assert all(torch.isfinite(value).all() for value in state["model"].values())


def test_identities_with_fewer_images_than_a_batch_takes_are_told(
    market_layout, own_cache, tmp_path, caplog
):
    folder = market_layout()
    first = sorted((folder / "bounding_box_train").iterdir())[0].name[:4]
    for file in sorted((folder / "bounding_box_train").glob(f"{first}_*"))[1:]:
        file.unlink()
    batches = {"sampler": "identities", "num_instances": 2, "schedule": "cosine"}
    with caplog.at_level("INFO", logger="reidlab"):
        fit(
            dataclasses.replace(TINY, epochs=1, val_fraction=0.0, **batches),
            tmp_path / "run",
            folder,
        )
    told = "1 of 4 identities have fewer than 2 images; a batch repeats theirs"
    assert told in caplog.text


def test_data_that_cannot_be_evaluated_are_refused_before_the_training(
    market_layout, own_cache, tmp_path
):
    folder = market_layout()
    for file in list((folder / "bounding_box_test").glob("*_c2*")):
        file.rename(file.with_name(file.name.replace("_c2", "_c1")))
    with pytest.raises(ReidlabError, match=r"none of the 3 queries .*removed 6 images"):
        fit(TINY, tmp_path / "run", folder)
    assert not (tmp_path / "run").exists()


def test_bad_data_leave_no_run_folder(tmp_path, own_cache):
    with pytest.raises(DataError):
        fit(TINY, tmp_path / "run", tmp_path / "nowhere")
    assert not (tmp_path / "run").exists()


def test_bad_init_leaves_no_run_folder(root, tmp_path):
    for init, message in [
        ("reid:nowhere.pth", "nowhere.pth"),
        ("run:absent", "absent holds no finished run"),
    ]:
        with pytest.raises(ReidlabError, match=message):
            fit(dataclasses.replace(TINY, init=init), tmp_path / "run", root)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model", "osnet_x9", "is not known.* Known: osnet_x1_0"),
        ("schedule", "magic", "Known: plateau"),
        ("schedule", "step", "the step schedule needs them"),
        ("milestones", [3], "the others have none"),
        ("optimizer", "magic", "Known: adamw"),
        ("epochs", -1, "epochs=-1"),
        ("batch_size", 1, "batch_size=1"),
        ("val_fraction", 0.0, "val_fraction=0.0"),
        ("val_fraction", 1.0, "val_fraction=1.0: expected 0 or more, below 1"),
        ("lr", -1.0, "lr=-1.0: expected more than 0"),
        ("lr", math.nan, "lr=nan"),
        ("weight_decay", -1e-4, "weight_decay=-0.0001: expected 0 or more"),
        ("label_smoothing", 2.0, "label_smoothing=2.0"),
        ("flip", 7.0, "flip=7.0: expected a share, 0 to 1"),
        ("erase", -0.1, "erase=-0.1"),
        ("pad", -1, "pad=-1"),
        ("seed", -1, "seed=-1"),
        ("seed", 2**64, "below 2"),
        ("epochs", "2", "epochs='2': expected int, found str"),
        ("lr", True, "lr=True: expected float, found bool"),
        ("dataset", "market", "Did you mean market"),
        ("height", 0, "height=0, width"),
        (
            "device",
            "gpu",
            "Did you mean cpu.* Known: auto, cpu, cuda, mps",
        ),
        ("precision", "float8", "precision='float8' is not known.*Known: auto, float32"),
        ("distance", "magic", "known are euclidean"),
        ("init", "imgenet", "use one of none, imagenet"),
        ("init", "reid:", "use one of none, imagenet"),
        ("warmup_epochs", 1, "before a step or cosine schedule"),
        ("sampler", "magic", "Known: shuffle, identities"),
        ("triplet", "magic", "Known: none, hinge, soft"),
        ("triplet", "soft", 'sampler must be "identities"'),
        ("ema", 1.0, "ema=1.0: expected 0 or more, below 1"),
        ("center_weight", -1.0, "center_weight=-1.0"),
        ("center_lr", -1.0, "center_lr=-1.0: expected 0 or more"),
        ("momentum", 1.0, "momentum=1.0: expected 0 or more, below 1"),
        ("warmup_start", 0.0, "warmup_start=0.0: expected a share of lr"),
        ("sampler", "pairs", "such a network takes shuffle, identities"),
        ("model", "idla", "such a network takes pairs, growing-pairs, hard-pairs"),
        ("sizes", [[1, 8, 16]], "16 pixels or more"),
        ("sizes", [[1, 16]], "height, width"),
        ("sizes", [[2, 16, 16]], "take up all of the 2 epochs"),
    ],
)
def test_bad_settings(field, value, message):
    with pytest.raises(ReidlabError, match=message):
        dataclasses.replace(TINY, **{field: value})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("val_fraction", 0.2, "val_fraction=0.2 with model='idla_bn': a network of pairs has no"),
        ("flip_test", True, "flip_test=True with model='idla_bn'"),
        ("batch_size", 2, "two images each of two people or more"),
        ("init", "imagenet", "Take none or run:<name>"),
    ],
)
def test_bad_settings_of_pairs(field, value, message):
    with pytest.raises(ReidlabError, match=message):
        dataclasses.replace(RECIPES["pairs-modern"], **{field: value})


def test_identities_need_batches_that_divide():
    for batch_size, num_instances in [(6, 4), (4, 4), (4, 1)]:
        with pytest.raises(ReidlabError, match=f"num_instances={num_instances}: a batch holds"):
            dataclasses.replace(
                TINY, sampler="identities", batch_size=batch_size, num_instances=num_instances
            )


def test_more_identities_a_batch_than_there_are(root, tmp_path):
    config = dataclasses.replace(TINY, sampler="identities", batch_size=10, num_instances=2)
    with pytest.raises(ReidlabError, match="num_ids=5: the training images show only 4"):
        fit(config, tmp_path / "run", root)
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there(root, tmp_path):
    if not torch.cuda.is_available():
        with pytest.raises(ReidlabError, match='no cuda device; use device="auto"'):
            fit(dataclasses.replace(TINY, device="cuda"), tmp_path / "run", root)


def test_unfinished_folder_is_named(tmp_path):
    with pytest.raises(StudyError, match="holds no finished run"):
        runs.load_run(tmp_path)


def test_metrics_are_plain_json(root, tmp_path):
    run = fit(dataclasses.replace(TINY, epochs=1), tmp_path / "run", root)
    metrics = json.loads((run.path / "metrics.json").read_text())
    assert set(metrics) == {
        *("rank1", "rank5", "rank10", "mAP", "mAP_trapezoid", "mINP", "num_valid", "cmc")
    }


def published_scores(real_data, precision):
    """Distance -> Ranking of the published checkpoint at the published size."""
    dataset = data.load("market1501", real_data)
    model = build("osnet_x0_25")
    load_weights(model, real_data / "weights" / "osnet_x0_25_market1501.pth")
    query, gallery = (
        embed(model, frame, 256, 128, precision=precision)
        for frame in (dataset.query, dataset.gallery)
    )
    return {name: evaluate(query, gallery, distance=name) for name in ("euclidean", "cosine")}


def test_published_checkpoint_gives_the_known_results(real_data):
    """The data notes' results, which were found with torchreid's network in float32.

    In bfloat16 the order of additions, and with it the rounding, is the processor's: on one 4
    queries of 3,368 find another first answer than on the next. So it is held against float32
    query by query: few change, and no more lose than win beyond what a coin would do.
    """
    exact, rounded = (published_scores(real_data, one) for one in ("float32", "auto"))
    for distance, known in [
        ("euclidean", {"rank1": 91.18, "mAP": 74.94, "mINP": 37.00}),
        ("cosine", {"rank1": 91.48, "mAP": 77.39, "mINP": 43.73}),
    ]:
        found = exact[distance].summary()
        assert found["num_valid"] == 3368
        for score, right in known.items():
            assert found[score] == pytest.approx(right, abs=0.02), (distance, score)
        assert rounded[distance].summary()["mAP"] == pytest.approx(known["mAP"], abs=0.1)
        first, second = (one[distance].per_query["first_match"] == 0 for one in (exact, rounded))
        lost, won = int((first & ~second).sum()), int((~first & second).sum())
        assert lost + won <= 3368 // 100, (distance, lost, won)
        assert stats.binomtest(lost, max(lost + won, 1)).pvalue > 0.01, (distance, lost, won)
