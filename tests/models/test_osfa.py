"""OSFA: the two counts of its authors' logs, and its parts against slow versions."""

import importlib.util
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from reidlab.common.errors import ReidlabError
from reidlab.models import build, osfa
from reidlab.models.attention import PositionAttention, osfa_attention
from reidlab.models.cost import complexity
from reidlab.models.osfa import OSFA
from reidlab.models.osnet import WIDTHS, ChannelGate
from tests.models.networks import fresh, images

SMALL = WIDTHS["x0_25"]


class OneByOne(nn.Module):
    """A gate that runs once a stream, as torchreid's: its counter counts parameters by calls."""

    def __init__(self, gate: ChannelGate) -> None:
        super().__init__()
        self.fc1, self.fc2 = gate.fc1, gate.fc2

    def forward(self, streams):
        means = (x.mean((2, 3), keepdim=True) for x in streams)
        return tuple(torch.sigmoid(self.fc2(F.relu(self.fc1(x)))) for x in means)


def torchreids_count(model: nn.Module) -> tuple[int, int]:
    """Parameters by use and Mult-Adds of torchreid's own ``compute_model_complexity``."""
    package = Path(importlib.util.find_spec("torchreid").origin).parent
    file = package / "reid" / "utils" / "model_complexity.py"
    spec = importlib.util.spec_from_file_location("torchreid_complexity", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, ChannelGate):
                setattr(parent, name, OneByOne(child))
    return module.compute_model_complexity(model, (1, 3, 256, 128))


# training logs in the authors' repository, scripts/log/train.log-2021-05-10-10-29-37 and
# train.log-2021-02-09-10-17-13: "Model complexity: params=…, flops=…"; classifiers do not count,
# since the counter sees what runs in evaluation
@pytest.mark.parametrize(
    "suffix, params, multadds, local",
    [("", 4_030_600, 1_490_847_488, 4096), ("_feb2021", 3_409_416, 1_179_828_176, 6144)],
)
def test_counts_are_those_of_the_authors_logs(suffix, params, multadds, local):
    model = OSFA(WIDTHS["x1_0"], **osfa.OPTIONS[suffix])
    cost = complexity(model, 256, 128)
    assert (cost.params_by_use, cost.multadds) == (params, multadds)
    assert torchreids_count(model) == (params, multadds)
    assert [b.id_dim for b in model.branches] == [512, local]  # "3368-by-4608", and 6656


def slow_features(model: OSFA, x: torch.Tensor) -> list[torch.Tensor]:
    """Global and local feature in evaluation, stage by stage and part by part."""
    stem = model.maxpool(model.conv1(x))
    stages = [model.conv2, model.conv3, model.conv4]
    plain, maps = stem, []
    for stage in stages:
        plain = stage(plain)
        maps.append(plain)
    attended = stem
    for number, stage in enumerate(stages, start=1):
        attended = stage(attended)
        if str(number) in model.attention:
            attended = model.attention[str(number)](attended)
    top = F.adaptive_max_pool2d(model.conv5(attended), 1).flatten(1)
    first = F.adaptive_avg_pool2d(model.align[0](maps[0]), maps[2].shape[2:])
    fused = [first + model.align[1](maps[1]), model.align[1](maps[1]) + maps[2]]
    rows = maps[2].shape[2] // 4
    local = [
        m[:, c, rows * p : rows * (p + 1)].flatten(1).mean(1)
        for m in fused
        for c in range(m.shape[1])
        for p in range(4)
    ]
    return [model.fc(top), torch.stack(local, 1)]


@pytest.mark.parametrize("suffix", ["", "_attention_1", "_attention_2", "_attention_none"])
def test_features_equal_a_slow_version(suffix):
    model, x = fresh(f"osfa_x0_25{suffix}").double().eval(), images(2, 64, 32).double()
    with torch.inference_mode():
        found, expected = model(x), slow_features(model, x)
        for feature, slow in zip(found.metric, expected):
            torch.testing.assert_close(feature, slow)
        for neck, feature, slow in zip(model.necks, found.id, expected):
            norm = (slow - neck.running_mean) / (neck.running_var + neck.eps).sqrt()
            torch.testing.assert_close(feature, norm * neck.weight + neck.bias)
    parts = found.embedding.split([b.id_dim for b in model.branches], 1)
    for part, feature in zip(parts, found.id):
        torch.testing.assert_close(part, feature / feature.norm(dim=1, keepdim=True))


def test_attention_reaches_the_global_feature_alone():
    model, x = fresh("osfa_x0_25").eval(), images(2, 64, 32)
    with torch.inference_mode():
        before = model(x).metric
        for module in model.attention.modules():
            if isinstance(module, PositionAttention):
                module.gamma.fill_(1.0)
        after = model(x).metric
    assert not torch.allclose(before[0], after[0])
    assert torch.equal(before[1], after[1])


def test_a_stage_runs_twice_only_behind_attention():
    layers = complexity(build("osfa_x0_25_attention_2"), 128, 64).layers
    again = layers.layer[layers.layer.duplicated()]
    assert set(again.str.split(".").str[0]) == {"conv4"}


def test_every_choice_changes_what_it_says():
    x = images(2, 64, 32)
    maps = {"none": 3, "neighbours": 2, "all": 1}
    for fusion, count in maps.items():
        for pooling, times in {"avg": 1, "max": 1, "avg-max": 2}.items():
            model = OSFA(SMALL, fusion=fusion, pooling=pooling, parts=2).eval()
            with torch.inference_mode():
                local = model(x).metric[1]
            assert local.shape == (2, count * times * 2 * SMALL[3])


def test_neighbours_are_sums_of_the_unfused_maps():
    apart, fused = OSFA(SMALL, fusion="none").eval(), OSFA(SMALL).eval()
    state = {k: v for k, v in apart.state_dict().items() if not k.startswith("necks")}
    fused.load_state_dict(state, strict=False)
    with torch.inference_mode():
        first, second, third = apart(images(2, 64, 32)).metric[1].chunk(3, 1)
        found = fused(images(2, 64, 32)).metric[1]
    torch.testing.assert_close(found, torch.cat([first + second, second + third], 1))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"attention": {4: osfa_attention}}, "attention after stage 4 does not exist; .*1, 2, 3"),
        ({"fusion": "sum"}, "fusion 'sum' does not exist; choose of none, neighbours, all"),
        ({"pooling": "gem"}, "pooling 'gem' does not exist; choose of avg, max, avg-max"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ReidlabError, match=message):
        OSFA(SMALL, **options)


def test_a_height_that_does_not_divide_is_refused():
    with pytest.raises(ReidlabError, match=r"height of 96 does not divide into 4 parts; .* 64"):
        build("osfa_x0_25")(images(2, 96, 48))
    assert OSFA(SMALL, parts=3)(images(2, 96, 48)).metric[1].shape == (2, 2 * 3 * SMALL[3])


def test_a_width_multiplies_channels_and_not_layers():
    trees = [
        [(key.rpartition(".")[0], value.ndim) for key, value in OSFA(w).state_dict().items()]
        for w in WIDTHS.values()
    ]
    assert all(tree == trees[0] for tree in trees)
