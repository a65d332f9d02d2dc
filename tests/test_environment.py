"""One declaration of dependencies: the lock and the conda environment follow pyproject.toml."""

import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from reidlab.common import paths

PROJECT = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]
DECLARED = {"dependencies": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
LOCK = (paths.ROOT / "requirements.lock").read_text()


def locked():
    """Pins of the lock by canonical name; a name has several where platforms differ."""
    pins = {}
    for block in re.split(r"\n(?=[A-Za-z0-9])", LOCK):
        if match := re.match(r"([A-Za-z0-9._-]+)==([^\s;\\]+)", block):
            pins.setdefault(canonicalize_name(match[1]), []).append((match[2], block))
    return pins


@pytest.mark.parametrize(
    "text", [text for texts in DECLARED.values() for text in texts], ids=lambda text: text
)
def test_lock_satisfies_every_declared_dependency(text):
    wanted = Requirement(text)
    versions = [version for version, _ in locked()[canonicalize_name(wanted.name)]]
    assert versions
    for version in versions:
        assert Version(version) in wanted.specifier


def test_every_pin_has_hashes():
    pins = locked()
    assert len(pins) > 50
    for name, versions in pins.items():
        for _, block in versions:
            assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), name


def test_lock_holds_pins_only_and_no_address_of_an_index():
    assert "http://" not in LOCK and "https://" not in LOCK
    for line in LOCK.splitlines():
        assert re.match(r"(\s*#|[A-Za-z0-9._-]+==|    --hash=sha256:)", line), line


def test_makefile_names_no_index():
    assert "index" not in (paths.ROOT / "Makefile").read_text()


def test_conda_environment_is_python_pip_and_this_package_with_all_extras():
    environment = yaml.safe_load((paths.ROOT / "environment.yml").read_text())
    python, pip, from_pip = environment["dependencies"]
    assert python == f"python{PROJECT['requires-python']}"
    assert pip == "pip"
    (package,) = from_pip["pip"]
    extras = re.fullmatch(r"--editable \.\[(.+)\]", package)[1].split(",")
    assert set(extras) == set(PROJECT["optional-dependencies"])


def test_makefile_asks_for_the_python_that_the_project_needs():
    major, minor = PROJECT["requires-python"].removeprefix(">=").split(".")
    assert f"sys.version_info < ({major}, {minor})" in (paths.ROOT / "Makefile").read_text()


def test_citation_agrees_with_the_project():
    citation = yaml.safe_load((paths.ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "type"} <= set(citation)
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
