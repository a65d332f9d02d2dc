"""The register of networks, and what every network in it promises."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from reidlab import models
from reidlab.common.errors import StudyError
from reidlab.models import Features, build, make_heads, variant
from reidlab.models.cost import complexity
from reidlab.models.weights import load_weights, save_weights
from reidlab.recipe.names import MODELS
from tests.models.networks import NETWORKS, fresh, images, randomise

FILES = sorted(file.stem for file in Path(models.__file__).parent.glob("[a-z]*.py"))


def test_every_name_of_the_recipe_stands_in_the_table_of_its_file():
    tables = {file: import_module(f"reidlab.models.{file}") for file in FILES}
    found = [(name, file) for file in FILES for name in getattr(tables[file], "VARIANTS", {})]
    assert sorted(found) == sorted(MODELS.items())


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(StudyError, match=r"osnet_x2_0.*osnet_x1_0.*osnet_ain_x0_25"):
        build("osnet_x2_0")


def test_a_network_is_built_without_the_files_of_others():
    code = (
        "import sys; from reidlab.models import build; build('osnet_x0_25');"
        "assert not {'torchvision', 'reidlab.models.baseline'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", MODELS)
def test_sizes_and_relations_are_as_the_table_says(name):
    known = variant(name)
    with torch.device("meta"):
        model = build(name)
    cost = complexity(model)
    assert known.params in (cost.params, None)
    assert known.multadds in (cost.multadds, None)
    assert set(known.fresh) <= {module for module, _ in model.named_children()}
    if known.like:  # one step is enough to find the weights
        assert known.imagenet is None and not variant(known.like).like
        with torch.device("meta"):
            other = build(known.like)
        without = {*known.fresh, "levels"}  # MSPF's, which take the same trunk
        shapes = [
            {k: v.shape for k, v in m.state_dict().items() if k.split(".")[0] not in without}
            for m in (model, other)
        ]
        assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name", NETWORKS)
def test_features_have_the_sizes_of_the_branches_in_both_modes(name):
    model = fresh(name)
    heads = make_heads(model, 3)
    for training in (True, False):
        features = model.train(training)(images())
        assert type(features) is Features and features.embedding.shape[0] == 4
        assert [f.shape for f in features.id] == [(4, b.id_dim) for b in model.branches]
        assert [f.shape for f in features.metric] == [(4, b.metric_dim) for b in model.branches]
        assert [head(f).shape for head, f in zip(heads, features.id, strict=True)] == [
            (4, 3) for _ in model.branches
        ]
    assert not any("classifier" in key for key in model.state_dict())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_reaches_everything_that_is_not_frozen(name):
    model = fresh(name).train()
    neck = getattr(model, "neck", None)
    frozen = [] if neck is None or neck.bias.requires_grad else ["neck.bias"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    for head, feature in zip(make_heads(model, 3), model(images()).id):
        loss = F.cross_entropy(head(feature), torch.tensor([0, 1, 2, 0]))
        loss.backward(retain_graph=True)
    optimizer.step()
    assert [key for key, value in model.named_parameters() if value.grad is None] == frozen
    if frozen:
        assert not neck.bias.any()


@pytest.mark.parametrize("name", NETWORKS)
def test_channels_last_bfloat16_stays_close(name):
    model, x = fresh(name).eval(), images(2, 128, 64)
    with torch.inference_mode():
        expected = model(x).embedding
        model.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(model(x).embedding, expected, atol=1e-5, rtol=1e-4)
        with torch.autocast("cpu", torch.bfloat16):
            found = model(x).embedding
    if hasattr(model, "neck"):
        assert found.dtype == torch.float32
    assert F.cosine_similarity(found.float(), expected).min() > 0.999


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_round_trip(name, tmp_path):
    model, other = fresh(name), randomise(fresh(name), seed=1)
    save_weights(model, tmp_path / "model.safetensors")
    load_weights(other, tmp_path / "model.safetensors")
    expected = model.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in other.state_dict().items())


def test_the_size_of_osnets_embedding_can_be_chosen():
    model = build("osnet_x0_25", feature_dim=96)
    assert model(images()).embedding.shape == (4, 96) and model.branches == [(96, 96)]


# --- heads -------------------------------------------------------------------------------------


def test_default_head_is_torchreids_and_draws_as_before():
    model = build("osnet_x0_25")
    torch.manual_seed(5)
    (head,) = make_heads(model, 751)
    torch.manual_seed(5)
    expected = nn.Linear(512, 751)
    nn.init.normal_(expected.weight, std=0.01)
    assert torch.equal(head.weight, expected.weight)
    assert head.bias.shape == (751,) and not head.bias.any()


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v3_large", "osnet_x0_25_bnneck"])
def test_head_behind_a_neck_has_no_bias(name):
    with torch.device("meta"):
        model = build(name)
        (head,) = make_heads(model, 751)
    assert isinstance(head, nn.Linear) and head.bias is None
    assert head.weight.shape == (751, model.branches[0].id_dim)
