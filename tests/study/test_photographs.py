"""The guard against photographs in git: what it lets in, and what it names."""

import base64
import io
import json
import re
import subprocess
import zipfile

import numpy as np
import pytest
from PIL import Image

from reidlab.common import paths
from reidlab.common.errors import StudyError
from reidlab.plots.style import CHART, GENERATED, generated, new_figure, plain_image
from reidlab.study import Results, photographs
from reidlab.study.photographs import require_none, suspicion

SOMEBODY = np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8)


def encoded(kind):
    """A picture of somebody as a file of some kind."""
    stream = io.BytesIO()
    Image.fromarray(SOMEBODY).save(stream, kind)
    return stream.getvalue()


def as_text(kind):
    return base64.b64encode(encoded(kind)).decode()


def packed():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.jpg", encoded("jpeg"))
    return stream.getvalue()


def saved_array():
    stream = io.BytesIO()
    np.savez(stream, images=SOMEBODY)
    return stream.getvalue()


def notebook(output=None, about=None, source="1", **cell):
    data = {"image/png": as_text("png")} if output is None else output
    shown = {"output_type": "display_data", "data": data, "metadata": about or {}}
    cells = [{"cell_type": "code", "source": source, "outputs": [shown], **cell}]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4}).encode()


PAGE = f'<img src="data:image/jpeg;base64,{as_text("jpeg")}">'
STATE = {"state": {"a": {"buffers": [{"data": as_text("jpeg")}]}}}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(
            (f"anna.{kind}", encoded(kind))
            for kind in ("jpeg", "png", "gif", "bmp", "webp", "tiff")
        ),
        ("notes.txt", encoded("jpeg")),
        ("results/market1501/runs/a/seed-0/queries.parquet", encoded("jpeg")),
        ("data.zip", packed()),
        ("people.npz", saved_array()),
        ("results/market1501/figures/ranked-lists.png", encoded("png")),
        ("results/market1501/figures/ranked-lists.jpg", encoded("jpeg")),
        ("results/strange/figures/ranked-lists.png", encoded("png")),
        ("results/embedded/figures/anna.jpg", encoded("jpeg")),
        ("page.html", PAGE.encode()),
        ("README.md", f"![Anna](data:image/png;base64,{as_text('png')})".encode()),
        ("run.json", json.dumps(as_text("webp")).encode()),
        ("notebooks/06-retrieval.ipynb", notebook()),
        ("notebooks/06-retrieval.ipynb", notebook({"image/jpeg": as_text("jpeg")})),
        ("notebooks/06-retrieval.ipynb", notebook({"text/html": PAGE})),
        ("results/market1501/notebooks/06-retrieval.ipynb", notebook({"image/gif": "x"})),
        ("notebooks/a.ipynb", notebook({}, attachments={"a": {"image/png": as_text("png")}})),
        ("notebooks/a.ipynb", notebook({}, metadata={"widgets": STATE})),
        ("notebooks/a.ipynb", b"no notebook"),
    ],
)
def test_what_may_show_somebody_is_named(name, content):
    assert suspicion(name, content)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("reidlab/losses.py", b"# data:image/png;base64, and nothing after it"),
        ("notebooks/a.ipynb", notebook(about={"image/png": CHART})),
        ("notebooks/a.ipynb", notebook(about={"image/png": GENERATED})),
        ("results/embedded/notebooks/06-retrieval.ipynb", notebook()),
        ("results/embedded/figures/01-domains.png", encoded("png")),
        ("results/a/runs/b/seed-0/per_query.parquet", b"PAR1\0"),
    ],
)
def test_charts_generated_people_and_numbers_pass(name, content):
    assert suspicion(name, content) is None


def test_figures_say_what_they_are_and_are_not_written_without(tmp_path, monkeypatch):
    monkeypatch.setenv("REIDLAB_RESULTS", str(tmp_path))
    results = Results("market1501")
    chart, axes = new_figure(2)
    axes.imshow(SOMEBODY[..., 0])
    results.figure(chart, "chart")
    people = plain_image(new_figure(2)[1], SOMEBODY).figure
    with pytest.raises(StudyError, match="Figure people may show photographs"):
        results.figure(people, "people")
    results.figure(generated(people), "people")
    for file in ("chart.png", "people.png"):
        content = (tmp_path / "market1501" / "figures" / file).read_bytes()
        assert suspicion(f"results/market1501/figures/{file}", content) is None
        stripped = io.BytesIO()
        Image.open(io.BytesIO(content)).save(stripped, "png")
        assert suspicion(f"results/market1501/figures/{file}", stripped.getvalue())


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository of its own with this one's .gitignore; returns git."""

    def git(*arguments):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    (tmp_path / ".gitignore").write_bytes((paths.ROOT / ".gitignore").read_bytes())
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    return git


def test_what_git_would_take_is_looked_at_and_what_it_ignores_is_not(checkout, tmp_path):
    for ignored in ("my-data/anna.jpg", "my-data/photographs/anna/1.jpg", "private/x.jpg"):
        (tmp_path / ignored).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / ignored).write_bytes(encoded("jpeg"))
    assert require_none() == 1
    (tmp_path / "anna bert.jpg").write_bytes(encoded("jpeg"))
    with pytest.raises(StudyError, match=r"anna bert\.jpg: neither text"):
        require_none()  # git does not know it yet, and would with `git add .`
    assert require_none(staged=True) == 0
    checkout("add", ".")
    (tmp_path / "anna bert.jpg").unlink()
    assert require_none() == 1
    with pytest.raises(StudyError, match=r"anna bert\.jpg: neither text"):
        require_none(staged=True)  # it is in the index, and would be committed
    checkout("reset")
    checkout("add", "--force", "my-data/anna.jpg")
    for staged in (False, True):
        with pytest.raises(StudyError, match=r"my-data/anna\.jpg"):
            require_none(staged)


def test_without_git_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    with pytest.raises(StudyError, match="git ls-files does not work"):
        require_none()


def test_this_checkout_is_clean_and_the_guard_is_where_it_should_be():
    assert require_none() > 100
    lint = re.search(r"(?ms)^lint:.*?\n\n", (paths.ROOT / "Makefile").read_text())[0]
    assert "-m reidlab photographs" in lint
    assert "reidlab photographs --staged" in (paths.ROOT / "CONTRIBUTING.md").read_text()
    for pattern in photographs.KNOWN:
        assert list(paths.ROOT.glob(pattern.replace("runs/*/per", "runs/*/*/per")))
