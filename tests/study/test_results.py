"""Tables, figures and the report: the same bytes each time."""

import pandas as pd
import pytest

from reidlab.common.errors import StudyError
from reidlab.plots.style import new_figure
from reidlab.study.results import Results, write_report


def test_tables_figures_and_timings_are_the_same_bytes_each_time(tmp_path, monkeypatch):
    monkeypatch.setenv("REIDLAB_RESULTS", str(tmp_path))
    results, files = Results("p"), []
    frame = pd.DataFrame({"run": ["a", "b"], "mAP": [1 / 3, 50.0], "n": [1, 2]})
    for _ in range(2):
        figure, axes = new_figure(2)
        axes.plot([1, 2])
        assert results.table(frame, "scores") is frame
        results.timing(frame.set_index("run"), "seconds")
        results.figure(figure, "curve-1")
        files.append({p.name: p.read_bytes() for p in tmp_path.rglob("*.*")})
    assert files[0] == files[1]
    assert set(files[0]) == {"scores.csv", "seconds.csv", "curve-1.png"}
    assert files[0]["scores.csv"] == b"run,mAP,n\na,0.333333,1\nb,50,2\n"
    assert files[0]["seconds.csv"].startswith(b"run,mAP,n\n")
    # Only that it is a chart, which the guard against photographs reads: no date, no version.
    assert (
        b"Software" not in files[0]["curve-1.png"] and files[0]["curve-1.png"].count(b"tEXt") == 1
    )
    with pytest.raises(StudyError, match=r"'../x' is no name"):
        results.table(frame, "../x")

    page = write_report("p", "What it is.", frame)
    assert "| a | 0.33 | 1 |" in page.read_text()
    assert "![curve-1](figures/curve-1.png)" in page.read_text()
    assert "timings" not in page.read_text()
    # A table with its own digits; one that is long is only linked.
    assert "### [scores](tables/scores.csv)\n\n| run | mAP | n |" in page.read_text()
    assert "| a | 0.333333 | 1 |" in page.read_text()
    results.table(pd.DataFrame({"row": range(41)}), "long")
    text = write_report("p", "What it is.", frame).read_text()
    assert "### [long](tables/long.csv)\n\n41 rows, in the file." in text
