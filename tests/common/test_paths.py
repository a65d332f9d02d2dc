"""The study's places, as the environment names them."""

import pytest

from reidlab.common import paths
from reidlab.common.errors import ReidlabError

PLACES = {
    "REIDLAB_CACHE": paths.cache,
    "REIDLAB_DATA": paths.data_root,
    "REIDLAB_RESULTS": lambda: paths.results("smoke").parent,
}


@pytest.mark.parametrize("variable", PLACES)
def test_a_place_is_whole_and_one_that_is_none_is_named(tmp_path, monkeypatch, variable):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, "a b/../c")
    assert PLACES[variable]() == tmp_path / "c"
    (tmp_path / "loop").symlink_to("loop")
    for value in (str(tmp_path / "loop"), "loop/below", "~nobody-has-this-name/x"):
        monkeypatch.setenv(variable, value)
        with pytest.raises(ReidlabError, match=f"{variable} is '{value}', which names no place"):
            PLACES[variable]()
