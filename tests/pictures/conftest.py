"""Pictures of generated people, for the tests of one's own pictures."""

import shutil

import pytest

from pedestrians import SyntheticConfig, generate
from reidlab.pictures import network as networks


@pytest.fixture(scope="session")
def people(tmp_path_factory):
    """Pictures of generated people, as <pid>_c<camera>…jpg, and a cache that the tests share."""
    folder = tmp_path_factory.mktemp("people")
    config = SyntheticConfig(
        domain="a",
        seed=3,
        train_ids=0,
        test_ids=4,
        cameras=3,
        distractors=0,
        junk=0,
        cameras_per_id=(3, 3),
        images_per_camera=(2, 2),
    )
    generate(config, folder / "set")
    return folder / "set"


@pytest.fixture(autouse=True)
def shared_cache(people, monkeypatch):
    """A cache that the tests share: features are made once."""
    monkeypatch.setenv("REIDLAB_CACHE", str(people.parent / "cache"))


@pytest.fixture(scope="session")
def shipped():
    return networks.find_network()


@pytest.fixture
def photographs(people, tmp_path):
    """A folder in which a test may put what it likes."""
    return shutil.copytree(people / "bounding_box_test", tmp_path / "photographs")
