"""Where to compute: what is compiled, and what is not."""

import logging

import pytest
import torch
from torch import nn

from reidlab.common import device
from reidlab.common.device import Compute, pick
from reidlab.common.errors import ReidlabError
from reidlab.recipe.names import DEVICES, PRECISIONS

CUDA = Compute(torch.device("cuda"), torch.bfloat16)


@pytest.fixture
def model():
    return nn.Linear(2, 3)


def test_nothing_is_compiled_on_a_cpu(model):
    assert Compute(torch.device("cpu"), torch.float32).compiled(model) is model


def test_nothing_is_compiled_without_a_compiler(model, monkeypatch, caplog):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(device.shutil, "which", lambda name: None)
    with caplog.at_level(logging.INFO):
        assert CUDA.compiled(model) is model
    assert "takes a C compiler and triton" in caplog.text


def test_the_compiled_network_has_the_same_weights(model, monkeypatch):
    monkeypatch.setattr(device, "_has_compiler", lambda: True)
    compiled = CUDA.compiled(model)
    assert compiled is not model
    assert [id(each) for each in compiled.parameters()] == [
        id(each) for each in model.parameters()
    ]


def test_a_recipes_words_are_those_that_a_machine_knows():
    """A word of the recipe's is at most missing here; any other is refused with all of them."""
    for word in DEVICES:
        try:
            assert pick(word, "float32").device.type in DEVICES
        except ReidlabError as error:
            assert f"this machine has no {word} device" in str(error)
    for precision in PRECISIONS:
        assert str(pick("cpu", precision).dtype).removeprefix("torch.") in PRECISIONS
    for words in (("tpu", "auto"), ("cpu", "float16")):
        with pytest.raises(ReidlabError) as error:
            pick(*words)
        said = {word.strip(".,;") for word in str(error.value).split()}
        assert said >= {*DEVICES, *PRECISIONS}
