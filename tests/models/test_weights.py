"""Weights: what is loaded is what was saved, and every bad file gets one clear error."""

import copy
import hashlib
import json
import urllib.error
from collections import OrderedDict
from dataclasses import replace
from importlib import import_module

import pytest
import torch
import torchvision
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from reidlab.common.errors import ReidlabError, WeightsError
from reidlab.common.files import sha256
from reidlab.models import build, variant, weights
from reidlab.models.checkpoint import read_weights
from reidlab.models.weights import initialise, load_weights, save_weights
from reidlab.recipe.init import Init
from reidlab.recipe.names import MODELS
from tests.models.networks import fresh, randomise

NAME = "osnet_x0_25"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REIDLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


@pytest.fixture
def source():
    """A trained network, as far as loading can tell."""
    torch.manual_seed(11)
    model = build(NAME)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.1, 1.0)
        else:
            tensor.fill_(7)
    return model


def start(model, init, name=NAME, **options):
    """`initialise`, with a recipe's words."""
    return initialise(model, Init.parse(init), name=name, **options)


def start_from_run(model, file, name, of):
    return start(model, "run:a", name, run_weights=file, of=of)


def publish(monkeypatch, name, **known):
    """Give a network's ImageNet weights another address, size or hash."""
    table = import_module(f"reidlab.models.{MODELS[name]}").VARIANTS
    changed = replace(table[name].imagenet, **known)
    monkeypatch.setitem(table, name, replace(table[name], imagenet=changed))


def with_classifier(state, classes=751):
    return OrderedDict(state) | {
        "classifier.weight": torch.ones(classes, 512),
        "classifier.bias": torch.zeros(classes),
    }


def assert_same(model, source):
    expected = source.state_dict()
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, expected[key]), key


def assert_refused(file, *words, model=None, call=load_weights):
    """One WeightsError that names the file and says these words; the network is as before."""
    model = model or build(NAME)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with pytest.raises(WeightsError) as error:
        call(model, file)
    message = str(error.value)
    for word in (str(file), *words):
        assert word in message, f"{word!r} is not in: {message}"
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())
    return message


# --- what loads --------------------------------------------------------------------------------


def test_safetensors_round_trip_keeps_tensors_metadata_and_bytes(tmp_path, source):
    source.to(memory_format=torch.channels_last)  # safetensors refuses such tensors as they are
    metadata = {"model": NAME, "epochs": 10, "data": {"name": "synthetic"}, "seed": None}
    file, again = tmp_path / "new" / "model.safetensors", tmp_path / "again.safetensors"
    save_weights(source, file, metadata)
    save_weights(source, again, dict(reversed(metadata.items())))
    model = build(NAME)
    load_weights(model, str(file))
    assert_same(model, source)
    with safe_open(file, "pt") as opened:
        assert json.loads(opened.metadata()["reidlab"]) == metadata
    assert file.read_bytes() == again.read_bytes()
    assert [path.name for path in file.parent.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("error", [OSError, SafetensorError])
def test_interrupted_save_keeps_the_old_file(tmp_path, source, monkeypatch, error):
    file = tmp_path / "model.safetensors"
    save_weights(source, file)
    old = file.read_bytes()

    def fail(state, path, metadata):
        path.write_bytes(b"half")
        raise error("No space left on device")

    monkeypatch.setattr(weights, "save_file", fail)
    with pytest.raises(ReidlabError, match=f"{file} could not be written: No space left"):
        save_weights(build(NAME), file)
    assert file.read_bytes() == old
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_published_checkpoints_load(real_data):
    for dataset, classes in (("market1501", 751), ("msmt17", 1041)):
        file = real_data / "weights" / f"osnet_x0_25_{dataset}.pth"
        state = read_weights(file)
        assert len(state) == 567
        assert state["classifier.weight"].shape == (classes, 512)
        model = build(NAME)
        start(model, f"reid:{file}")
        for key, tensor in model.state_dict().items():
            assert torch.equal(tensor, state[key]), key


def test_published_checkpoint_does_not_fit_another_width(real_data):
    file = real_data / "weights" / "osnet_x0_25_market1501.pth"
    message = assert_refused(file, "of another shape", model=build("osnet_x0_5"))
    assert "conv1.conv.weight (16, 3, 7, 7) (the network has (32, 3, 7, 7))" in message


# --- what does not load ------------------------------------------------------------------------


def test_missing_mis_shaped_and_extra_keys_are_listed_together(tmp_path, source):
    state = with_classifier(source.state_dict())
    del state["fc.0.weight"], state["conv5.bn.running_var"]
    state["conv1.bn.bias"] = torch.zeros(17)
    state["surplus.weight"] = torch.zeros(1)
    file = tmp_path / "model.pth"
    torch.save(state, file)
    message = assert_refused(
        file,
        "2 missing in the file: conv5.bn.running_var, fc.0.weight",
        "1 unknown to the network: surplus.weight",
        "1 of another shape: conv1.bn.bias (17,) (the network has (16,))",
        "skip",
    )
    assert "classifier" not in message


def test_values_that_are_no_numbers_are_refused(tmp_path, source):
    state = {key: tensor.clone() for key, tensor in source.state_dict().items()}
    state["fc.0.weight"][0, 0] = torch.nan
    torch.save(state, tmp_path / "model.pth")
    assert_refused(tmp_path / "model.pth", "1 tensors hold NaN or infinite values: fc.0.weight.")


def test_whole_numbers_in_place_of_fractions_are_refused(tmp_path, source):
    state = dict(source.state_dict())
    state["fc.0.weight"] = torch.ones_like(state["fc.0.weight"], dtype=torch.int8)
    torch.save(state, tmp_path / "model.pth")
    assert_refused(tmp_path / "model.pth", "1 of whole numbers", "fractions: fc.0.weight")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_formats_of_numbers_are_converted(tmp_path, source, dtype):
    state = {
        k: v.to(dtype) if v.is_floating_point() else v for k, v in source.state_dict().items()
    }
    torch.save(state, tmp_path / "model.pth")
    model = build(NAME)
    load_weights(model, tmp_path / "model.pth")
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[key].to(tensor.dtype)), key


@pytest.mark.parametrize("change", ["missing", "extra", "mis-shaped"])
def test_each_misfit_alone_is_refused(tmp_path, source, change):
    state = dict(source.state_dict())
    if change == "missing":
        del state["conv3.0.gate.fc1.bias"]
    elif change == "extra":
        state["conv3.0.gate.fc3.bias"] = torch.zeros(2)
    else:
        state["conv3.0.gate.fc1.bias"] = torch.zeros(2)
    file = tmp_path / "model.safetensors"
    save_file(state, file)
    assert_refused(file, "conv3.0.gate.fc")


def test_only_named_heads_are_skipped(tmp_path, source):
    state = with_classifier(source.state_dict()) | {"neck.bias": torch.zeros(3)}
    file = tmp_path / "model.pth"
    torch.save(state, file)
    assert_refused(file, "neck.bias")
    model = build(NAME)
    load_weights(model, file, skip=("classifier", "neck"))
    assert_same(model, source)
    with pytest.raises(WeightsError, match=r"classifier\.weight, classifier\.bias"):
        load_weights(model, file, skip=("neck",))


# --- initialisation in words -------------------------------------------------------------------


def test_none_keeps_the_random_weights(source):
    before = {key: tensor.clone() for key, tensor in source.state_dict().items()}
    assert start(source, "none") is None
    assert all(torch.equal(before[key], t) for key, t in source.state_dict().items())


def test_imagenet_file_is_found_in_the_data_root(tmp_path, source):
    file = tmp_path / "data" / "weights" / f"{NAME}_imagenet.pth"
    file.parent.mkdir(parents=True)
    torch.save(with_classifier(source.state_dict(), 1000), file)
    for init in ("imagenet", f"imagenet:{file}"):
        model = build(NAME)
        start(model, init, data_root=tmp_path / "data")
        assert_same(model, source)


@pytest.mark.parametrize(
    ("of", "name", "fresh"),
    [
        ("osnet_x0_25_bnneck", "osnet_x0_25_d1000", {"fc"}),
        ("osnet_x0_25_d1000", "osnet_x0_25_bnneck", {"fc", "neck"}),
        ("resnet50", "resnet50_stride2", set()),
        ("osnet_x0_25", "osnet_x0_25_bnneck", {"neck"}),
        ("osnet_x0_25_bnneck", "osnet_x0_25_bnneck", set()),
        ("mobilenet_v3_large", "mobilenet_v3_large_report", set()),
    ],
)
def test_a_variant_takes_over_all_that_variants_share(tmp_path, of, name, fresh):
    source, file = build(of), tmp_path / "model.safetensors"
    for tensor in source.state_dict().values():
        tensor.fill_(7)
    save_file(source.state_dict(), file)
    model = build(name)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    assert start_from_run(model, file, name, of) == file
    kept = {k for k, t in model.state_dict().items() if torch.equal(t, before[k])}
    taken = {k for k, t in model.state_dict().items() if (t == 7).all()}
    assert {key.split(".")[0] for key in kept} == fresh
    assert taken == set(before) - kept


def test_another_network_is_no_variant(tmp_path):
    file = tmp_path / "model.safetensors"
    save_file(build("mobilenet_v3_large").state_dict(), file)
    model = build("osnet_x0_25_bnneck")
    with pytest.raises(WeightsError, match="does not fit the network OSNetBNNeck"):
        start_from_run(model, file, "osnet_x0_25_bnneck", "mobilenet_v3_large")


def test_reid_checkpoint_is_no_imagenet_file(tmp_path, source):
    for state, found in (
        (with_classifier(source.state_dict(), 751), "found 751"),
        (source.state_dict(), "found none"),
    ):
        file = tmp_path / "model.pth"
        torch.save(state, file)
        assert_refused(
            file,
            "1000 classes",
            found,
            "'reid:<file>'",
            call=lambda m, f: start(m, f"imagenet:{f}"),
        )


def test_imagenet_file_of_x1_0_is_verified(tmp_path):
    model = build("osnet_x1_0")
    file = tmp_path / "osnet_x1_0_imagenet.pth"
    torch.save(with_classifier(model.state_dict(), 1000), file)  # fits, but is not the file
    assert_refused(
        file,
        "10,910,553",
        f"{file.stat().st_size:,}",
        "fe2d63f9157c28a4a8d8ca29bec12d5b2988ac0346d712025789ea9174968e79",
        hashlib.sha256(file.read_bytes()).hexdigest(),
        model=model,
        call=lambda m, f: start(m, f"imagenet:{f}", "osnet_x1_0"),
    )
    file.write_bytes(bytes(10_910_553))  # the right size alone does not do
    assert_refused(
        file,
        "sha256",
        model=model,
        call=lambda m, f: start(m, f"imagenet:{f}", "osnet_x1_0"),
    )


def test_download_is_verified_and_cached(tmp_path, source, cache, monkeypatch):
    remote = tmp_path / "remote.pth"
    torch.save(with_classifier(source.state_dict(), 1000), remote)
    size = remote.stat().st_size
    publish(monkeypatch, NAME, url=remote.as_uri(), size=size, sha256=sha256(remote))
    for _ in range(2):  # the second time without the remote
        model = build(NAME)
        start(model, "imagenet", data_root=tmp_path / "data")
        assert_same(model, source)
        remote.unlink(missing_ok=True)
    assert [p.name for p in (cache / "weights").iterdir()] == [f"{NAME}_imagenet.pth"]


def test_wrong_download_is_not_kept(tmp_path, cache, monkeypatch):
    remote = tmp_path / "remote.pth"
    remote.write_text("<html>Quota exceeded</html>")
    for name in (NAME, "osnet_x1_0"):  # without and with a known hash
        publish(monkeypatch, name, url=remote.as_uri())
        with pytest.raises(WeightsError, match=r"(?s)sent something else.*put it at") as error:
            start(build(name), "imagenet", name, data_root=tmp_path / "data")
        assert str(tmp_path / "data" / "weights" / f"{name}_imagenet.pth") in str(error.value)
        assert remote.as_uri() in str(error.value)
    assert list((cache / "weights").iterdir()) == []


def test_offline_says_where_to_put_the_file(tmp_path, cache, monkeypatch):
    def offline(url, timeout):
        raise urllib.error.URLError("Temporary failure in name resolution")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    with pytest.raises(WeightsError, match="cannot download") as error:
        start(build(NAME), "imagenet", data_root=tmp_path / "data")
    message = str(error.value)
    assert "https://drive.google.com/uc?id=1rb8UN5ZzPKRc_xvtHlyDh-cSz88YX9hs" in message
    assert str(tmp_path / "data" / "weights" / "osnet_x0_25_imagenet.pth") in message
    assert list((cache / "weights").iterdir()) == []


def test_zoo_addresses_are_torchreids():
    for stem in ("osnet", "osnet_ain"):
        theirs = _peer_urls(stem)
        for name, url in theirs.items():
            assert variant(name).imagenet.url == f"{url}&export=download"


def _peer_urls(stem):
    import importlib.util
    from pathlib import Path

    package = Path(importlib.util.find_spec("torchreid").origin).parent
    spec = importlib.util.spec_from_file_location(
        f"torchreid_{stem}", package / "reid" / "models" / f"{stem}.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.pretrained_urls


def test_synthetic_weights_are_checked_against_their_note(tmp_path, source, monkeypatch):
    monkeypatch.setattr(weights, "SHIPPED", tmp_path)
    file = tmp_path / f"{NAME}_synthetic.safetensors"
    with pytest.raises(WeightsError, match="only of none"):
        start(build(NAME), "synthetic")
    save_weights(source, file)
    file.with_suffix(".json").write_text(json.dumps({"sha256": sha256(file)}))
    model = build(NAME)
    start(model, "synthetic")
    assert_same(model, source)
    with pytest.raises(WeightsError, match=r"no weights of 'osnet_x1_0'.*only of osnet_x0_25"):
        start(build("osnet_x1_0"), "synthetic", "osnet_x1_0")

    save_weights(build(NAME), file)
    assert_refused(
        file,
        "sha256",
        "Check the file out again",
        call=lambda m, _: start(m, "synthetic"),
    )


def test_shipped_weights_load():
    start(build(NAME), "synthetic")


# --- ImageNet of torchvision, and of variants -------------------------------------------------


@pytest.fixture
def imagenet(tmp_path, monkeypatch):
    """Stands for a published file: torchvision's network with random weights, as old as theirs."""

    def make(name: str):
        torch.manual_seed(4)
        theirs = randomise(getattr(torchvision.models, name)())
        state = {k: v for k, v in theirs.state_dict().items() if "num_batches" not in k}
        file = tmp_path / "data" / "weights" / variant(name).imagenet.name
        file.parent.mkdir(parents=True)
        torch.save(state, file)
        publish(monkeypatch, name, sha256=sha256(file)[:8])
        return theirs, file

    return make


@pytest.mark.parametrize("name", ["resnet50_report", "mobilenet_v3_large"])
def test_imagenet_fills_the_trunk_and_leaves_the_neck(name, imagenet, tmp_path):
    theirs, file = imagenet(variant(name).like or name)
    for init in ("imagenet", f"imagenet:{file}"):
        model = build(name)
        assert start(model, init, name, data_root=tmp_path / "data") == file
        expected = theirs.state_dict()
        for key, tensor in model.state_dict().items():
            if not key.startswith("neck."):
                assert torch.equal(tensor, expected[key]), key
        assert torch.equal(model.neck.weight, torch.ones_like(model.neck.weight))


@pytest.mark.parametrize(
    ("name", "neighbour"), [("osnet_x0_25_bnneck", "neck"), ("osnet_x0_25_d1000", "fc")]
)
def test_imagenet_of_osnet_serves_its_variants(name, neighbour, tmp_path):
    source = fresh("osnet_x0_25")
    state = source.state_dict() | {
        "classifier.weight": torch.ones(1000, 512),
        "classifier.bias": torch.zeros(1000),
    }
    file = tmp_path / "weights" / "osnet_x0_25_imagenet.pth"
    file.parent.mkdir()
    torch.save(state, file)
    model = build(name)
    before = copy.deepcopy(model.state_dict())
    start(model, "imagenet", name, data_root=tmp_path)
    for key, tensor in model.state_dict().items():
        own = key.split(".")[0] == neighbour
        assert torch.equal(tensor, before[key] if own else state[key]), key


@pytest.mark.parametrize(
    ("name", "own"), [("osnet_x0_25_bnneck", ("neck",)), ("osnet_x0_25_d1000", ("fc",))]
)
def test_shipped_weights_of_osnet_serve_its_variants(name, own):
    source, model = build("osnet_x0_25"), fresh(name)
    start(source, "synthetic")
    start(model, "synthetic", name)
    expected, before = source.state_dict(), fresh(name).state_dict()
    for key, tensor in model.state_dict().items():
        kept = key.startswith(own)
        assert torch.equal(tensor, before[key] if kept else expected[key]), key
    with pytest.raises(WeightsError, match="no weights of 'resnet50' are shipped"):
        start(fresh("resnet50_report"), "synthetic", "resnet50_report")


def test_imagenet_file_with_another_hash_is_refused(imagenet, tmp_path, monkeypatch):
    imagenet("resnet50")
    publish(monkeypatch, "resnet50", sha256="0676ba61")  # torchvision's
    model = fresh("resnet50")
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(WeightsError, match=r"resnet50-0676ba61\.pth.*0676ba61 at the start"):
        start(model, "imagenet", "resnet50", data_root=tmp_path / "data")
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("resnet50", "resnet50-0676ba61.pth"),
        ("mobilenet_v3_large_report", "mobilenet_v3_large-8738ca79.pth"),
    ],
)
def test_offline_names_torchvisions_file(name, file, tmp_path, own_cache, monkeypatch):
    def offline(url, timeout):
        raise urllib.error.URLError("Temporary failure in name resolution")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    with pytest.raises(WeightsError, match="cannot download") as error:
        start(fresh(name), "imagenet", name, data_root=tmp_path / "data")
    assert f"https://download.pytorch.org/models/{file}" in str(error.value)
    assert str(tmp_path / "data" / "weights" / file) in str(error.value)


# --- OSNet inside other networks ---------------------------------------------------------------


def trunks_of(model) -> list[dict[str, torch.Tensor]]:
    """The weights of OSNet's trunk, wherever a network has them."""
    starts = ["", *(f"levels.{i}." for i in range(len(getattr(model, "levels", ()))))]
    keys = [key for key in build(NAME).state_dict() if key.startswith("conv")]
    state = model.state_dict()
    return [{key: state[start + key] for key in keys} for start in starts]


def same_as(found, expected) -> bool:
    """Whether all tensors of one dictionary are those of another that may hold more."""
    return all(torch.equal(value, expected[key]) for key, value in found.items())


@pytest.mark.parametrize("name, trunks", [("osfa_x0_25", 1), ("mspf_x0_25", 3)])
@pytest.mark.parametrize("how", ["reid", "run"])
def test_a_checkpoint_of_osnet_fills_every_trunk(name, trunks, how, tmp_path, source, caplog):
    file = tmp_path / "osnet.safetensors"
    save_weights(source, file)
    model, before = fresh(name), fresh(name).state_dict()
    with caplog.at_level("INFO"):
        if how == "reid":
            start(model, f"reid:{file}", name)
        else:
            start_from_run(model, file, name, NAME)
    found = trunks_of(model)
    assert len(found) == trunks and all(same_as(trunk, source.state_dict()) for trunk in found)
    own = ("attention", "align", "fc", "necks")
    others = {key: value for key, value in before.items() if key.split(".")[0] in own}
    assert same_as(others, model.state_dict())
    assert len(others) + trunks * len(found[0]) == len(before)
    assert "fresh: attention, align, fc, necks" in caplog.text


def test_shipped_and_real_weights_fill_osfa_and_mspf(real_data):
    for name in ("osfa_x0_25", "mspf_x0_25"):
        file = real_data / "weights" / "osnet_x0_25_imagenet.pth"
        for init in ("synthetic", "imagenet", f"reid:{file}"):
            model = fresh(name)
            used = start(model, init, name, data_root=real_data)
            expected = read_weights(used)
            assert all(same_as(trunk, expected) for trunk in trunks_of(model))


def test_its_own_checkpoint_is_loaded_whole_and_strictly(tmp_path):
    model, file = randomise(fresh("mspf_x0_25"), seed=5), tmp_path / "mspf.safetensors"
    save_weights(model, file)
    other = fresh("mspf_x0_25")
    load_weights(other, file)
    assert_same(other, model)
    state = {k: v for k, v in model.state_dict().items() if k != "levels.1.conv1.conv.weight"}
    save_file(state, file)
    assert_refused(file, "1 missing in the file: levels.1.conv1.conv.weight", model=other)


def test_osfas_trunk_fills_the_levels_of_patches(tmp_path):
    model, file = randomise(fresh("osfa_x0_25"), seed=5), tmp_path / "osfa.safetensors"
    save_weights(model, file)
    other = fresh("mspf_x0_25")
    start_from_run(other, file, "mspf_x0_25", "osfa_x0_25")
    assert all(same_as(trunk, model.state_dict()) for trunk in trunks_of(other))
    assert torch.equal(other.fc.weight, model.fc.weight)


@pytest.mark.parametrize("name", ["osnet_x0_5", "mobilenet_v3_large", "osnet_ain_x0_25"])
def test_a_checkpoint_whose_trunk_does_not_fit_is_refused(name, tmp_path):
    file = tmp_path / "other.safetensors"
    save_weights(build(name), file)
    model = fresh("mspf_x0_25")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert_refused(file, "does not fit the network MSPF", model=model)
    assert same_as(model.state_dict(), before)


def test_a_width_without_weights_says_which_have_some(tmp_path):
    with pytest.raises(WeightsError, match=r"shipped in .*, only of osnet_x0_25"):
        start(build("osfa_x0_75"), "synthetic", "osfa_x0_75")
