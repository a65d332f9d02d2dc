"""README.md says what is there: the committed tables, the notebooks, commands and profiles."""

import contextlib
import dataclasses
import json
import re
import subprocess

import nbformat
import pandas as pd
import pytest
import yaml

from reidlab.common import paths
from reidlab.common.errors import StudyError
from reidlab.study import readme
from reidlab.study.profiles import load_profile, profile_names
from reidlab.training.loop import PRESETS

FILE = paths.ROOT / "README.md"
TEXT = FILE.read_text()
SOURCES = ("results/*/tables/*.csv", "results/*/runs/*/*.json", "results/*/runs/*/history.csv")


def committed_results(folder):
    """The tables and provenance of the last commit, without what a `make study` changed since."""

    def git(*arguments):
        done = subprocess.run(
            ["git", *arguments], cwd=paths.ROOT, capture_output=True, text=True, check=True
        )
        return done.stdout

    globs = [f":(glob){glob}" for glob in SOURCES]
    for name in git("ls-files", "--", *globs).split():
        try:
            content = git("show", f"HEAD:{name}")
        except subprocess.CalledProcessError:  # added, but not committed yet
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder / "results"


def renders(folder):
    """What README.md may show: the tables as they are, or as they were committed."""
    candidates = [paths.ROOT / "results"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):  # not a git checkout
        candidates.append(committed_results(folder))
    for results in candidates:
        try:
            yield readme.render(results)
        except StudyError:
            continue


def test_results_are_those_of_the_tables(tmp_path):
    possible = [readme.with_results(TEXT, tables) for tables in renders(tmp_path)]
    if not possible:
        pytest.skip("there are no results yet")
    assert TEXT in possible, "README.md is behind results/: .venv/bin/python -m reidlab readme"


def test_speed_is_that_of_the_benchmarks():
    assert readme.with_speed(TEXT, paths.ROOT / "results") == TEXT, (
        "README.md is behind results/benchmarks: .venv/bin/python -m reidlab readme"
    )


def test_speed_without_benchmarks_says_what_to_do(tmp_path):
    with pytest.raises(StudyError, match=r"table.md is missing. Make it: make bench"):
        readme.with_speed(TEXT, tmp_path)


def scores(**changes):
    row = {"run": "a-none", "dataset": "synthetic-a", "model": "osnet_x0_25", "init": "none"}
    row |= {"height": 128, "width": 64, "epochs": 12, "distance": "euclidean", "seed": 0}
    return row | {"rank1": 61.234, "mAP": 45.678} | changes


def write_tables(folder, profile, rows, beside=None):
    tables = folder / profile / "tables"
    tables.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(tables / "comparison.csv", index=False)
    if beside:
        pd.DataFrame(beside).to_csv(tables / "beside-published.csv", index=False)


def test_render_shows_each_run_with_what_it_depends_on(tmp_path):
    rows = [scores(), scores(run="a-on-b", init="run:a-none", epochs=0, dataset="synthetic-b")]
    write_tables(tmp_path, "embedded", rows)
    text = readme.render(tmp_path)
    assert "| `a-none` | synthetic-a | scratch | 12 | synthetic-a | 61.2 | 45.7 |" in text
    assert "| `a-on-b` | synthetic-a | `a-none` as it is | – | synthetic-b | 61.2 | 45.7 |" in text
    for word in ("osnet_x0_25", "128×64", "seed 0", "single query", "euclidean distance"):
        assert word in text


def test_render_shows_the_nearest_published_number_that_was_read(tmp_path):
    pair = {"run": "market-none", "published_rank1": 92.2, "published_mAP": 77.8}
    beside = [
        pair | {"published": "recalled", "evidence": "memory"},
        pair | {"published": "the report", "evidence": "read", "published_mAP": 18.6},
        pair | {"published": "farther", "evidence": "read"},
        pair
        | {"published": "parts", "run": "parts", "evidence": "read"}
        | {"differs": "epochs 1, not 2; trained on MSMT17 (some), not MSMT17 (all, all); size 1"},
        pair
        | {"published": "elsewhere", "run": "other", "evidence": "read"}
        | {"differs": "trained on CUHK03, own split, not MSMT17 (all)"},
    ]
    beside = [{"differs": "nothing stated"} | row for row in beside]
    rows = [scores(run=run, dataset="market1501") for run in ("market-none", "parts", "other")]
    write_tables(tmp_path, "market1501", rows, beside)
    text = readme.render(tmp_path)
    assert "| 92.2 / 77.8, parts |" in text and "elsewhere" not in text
    assert "128×64, euclidean" not in text, "said once, below the table"
    rows[1] |= {"height": 256, "width": 128}
    pd.DataFrame(rows).to_csv(tmp_path / "market1501/tables/comparison.csv", index=False)
    assert "| 256×128, euclidean | 61.2 |" in readme.render(tmp_path)
    assert "| 92.2 / 18.6, the report |" in text
    assert "recalled" not in text and "farther" not in text


def test_the_fast_recipe_is_shown_with_its_spread(tmp_path):
    write_tables(tmp_path, "market1501", [scores()])
    names = ["market-fast", "market-fast-again-s1", "market-fast-again-s2"]
    measured = [(80.0, 60.0), (82.0, 61.0), (84.0, 65.0)]
    for seed, (name, (rank1, mean_ap)) in enumerate(zip(names, measured)):
        run = tmp_path / "market1501" / "runs" / name
        run.mkdir(parents=True)
        config = dataclasses.asdict(dataclasses.replace(PRESETS["fast"], seed=seed))
        (run / "config.json").write_text(json.dumps(config))
        (run / "metrics.json").write_text(json.dumps({"rank1": rank1, "mAP": mean_ap}))
        (run / "provenance.json").write_text(json.dumps({"device": "cpu", "threads": 2}))
        (run / "history.csv").write_text("train_seconds\n500\n640\n")
    shown = readme.render(tmp_path)
    assert "19.0 ± 0.0 | 82.0 ± 2.0 | 62.0 ± 2.6 |" in shown
    assert "over seeds 0 and 1 and 2;" in shown
    assert "cpu, 2 threads" in shown


def test_render_without_any_results_says_what_to_do(tmp_path):
    with pytest.raises(StudyError, match="make study"):
        readme.render(tmp_path)


def test_only_what_is_between_the_marks_is_replaced():
    text = f"above\n{readme.BEGIN}\nold\n{readme.END}\nbelow\n"
    new = readme.with_results(text, "new")
    assert new == f"above\n{readme.BEGIN}\n\nnew\n\n{readme.END}\nbelow\n"
    assert readme.with_results(new, "new") == new


@pytest.mark.parametrize("text", ["", readme.BEGIN, readme.END + readme.BEGIN])
def test_missing_marks_are_an_error(text):
    with pytest.raises(StudyError, match="marks"):
        readme.with_results(text, "new")


def test_first_screen_has_the_sentence_the_commands_and_the_results():
    first = TEXT.partition("\n## ")[0]
    assert first.startswith("# reidlab\n\nA reproducible study of person re-identification")
    assert "\n    make study " in first and "\n    make test " in first
    assert first.index("make test") < first.index(readme.BEGIN)
    assert "10 minutes" in first or re.search(r"about \d+ minutes", first)


def test_notebooks_are_listed_in_order_with_their_questions():
    listed = re.findall(r"^\| \[(\S+)\]\(notebooks/(\S+)\.ipynb\) \| (.+?) \|$", TEXT, re.M)
    there = []
    for source in sorted(paths.NOTEBOOKS.glob("*.ipynb")):
        title = nbformat.read(source, as_version=4).cells[0].source.splitlines()[0]
        there.append((source.stem, source.stem, title.removeprefix("# ")))
    assert listed == there


def test_profiles_are_those_of_config():
    listed = re.findall(r"^\| `([a-z0-9]+)` \|", TEXT.partition("## Profiles")[2], re.M)
    assert sorted(listed) == profile_names()


@pytest.mark.parametrize("file", ["README.md", "CONTRIBUTING.md"])
def test_every_make_verb_and_link_exists(file):
    text = (paths.ROOT / file).read_text()
    makefile = (paths.ROOT / "Makefile").read_text()
    verbs = re.findall(r"^    make ([a-z]+)\b|`make ([a-z]+)\b", text, re.M)
    assert verbs
    for verb in {first or second for first, second in verbs}:
        assert re.search(rf"^{verb}:", makefile, re.M), verb
    for link in re.findall(r"\]\((?!http)([^)]+)\)", text):
        assert (paths.ROOT / link).is_file(), link
    for module in re.findall(r"python -m (reidlab\.\w+)", text):
        assert (paths.ROOT / f"{module.replace('.', '/')}.py").is_file(), module


def test_example_profile_is_valid(tmp_path):
    example = re.search(r"```yaml\n(.+?)```", TEXT, re.S)[1]
    (tmp_path / "mine.yaml").write_text(example)
    profile = load_profile("mine", tmp_path)
    assert [*profile.runs] == ["scratch", "pretrained"]
    assert profile.notebooks["06-retrieval"].parameters == {"run": "pretrained"}


def test_example_run_is_valid(tmp_path):
    example = re.search(r"^    (a-wide: .+)$", TEXT, re.M)[1]
    settings = yaml.safe_load((paths.CONFIG / "embedded.yaml").read_text())
    settings["runs"] |= yaml.safe_load(example)
    (tmp_path / "embedded.yaml").write_text(yaml.safe_dump(settings))
    assert load_profile("embedded", tmp_path).runs["a-wide"]["model"] == "osnet_x0_5"


def test_layout_names_what_exists():
    section = TEXT.partition("## How the house is laid out")[2].partition("\n## ")[0]
    for name in re.findall(r"\b(\w+\.py|\w+\.csv)\b", section):
        assert (
            list(paths.ROOT.glob(f"reidlab/{name}")) or (paths.ROOT / "results" / name).is_file()
        )
    for folder in re.findall(r"^    (\w+)/", section, re.M):
        assert (paths.ROOT / folder).is_dir(), folder


@pytest.mark.parametrize("file", ["README.md", "CONTRIBUTING.md"])
def test_no_path_of_a_machine(file):
    text = (paths.ROOT / file).read_text()
    assert str(paths.ROOT) not in text
    assert not re.search(r"(?<!\w)/(home|root|Users|tmp|work)/", text)


def test_tricks_and_networks_are_shown_of_real_people_only(tmp_path):
    write_tables(tmp_path, "market1501", [scores()])
    tables = tmp_path / "market1501" / "tables"
    common = {"dataset": "market1501", "model": "osnet_x0_25", "size": "96x48", "epochs": 6}
    common |= {"seeds": 3, "rank1": 50.0, "rank1_std": 1.25, "mAP": 30.0, "mAP_std": 0.5}
    nothing = {"difference": None, "low": None, "high": None, "verdict": None}
    inits = {"ids-s0": "synthetic", "net-g-s0": "none", "net-s0": "run:net-g-s0"}
    for name, init in inits.items():
        run = tmp_path / "market1501" / "runs" / name
        run.mkdir(parents=True)
        config = {"init": init, "distance": "cosine", "epochs": 4, "dataset": "synthetic-a"}
        (run / "config.json").write_text(json.dumps(config))
        (run / "provenance.json").write_text(json.dumps({"device": "cpu, bfloat16"}))
    gain = {"difference": 2.04, "low": -0.5, "high": 4.5, "verdict": "within noise"}
    tricks = pd.DataFrame(
        [common | nothing | {"row": "ID loss"}, common | gain | {"row": "+ warm-up"}]
    ).assign(family="ids")
    tricks.to_csv(tables / "tricks.csv", index=False)
    forms = [("as the papers", 500, 31.24), ("as the code", 700, 8.0)]
    rows = [
        common
        | {"row": "net", "network": "ResNet50", "form": form, "params": params, "mAP": mean_ap}
        for form, params, mean_ap in forms
    ]
    pd.DataFrame(rows).to_csv(tables / "networks.csv", index=False)
    shown = readme.render(tmp_path)
    assert "one seed" not in shown and "split of its own" not in shown
    alone = {"dataset": "cuhk03-market-layout", "seeds": 1, "rank1_std": None, "mAP_std": None}
    rows.append(rows[0] | alone)
    pd.DataFrame(rows).to_csv(tables / "networks.csv", index=False)
    shown = readme.render(tmp_path)
    assert "| ResNet50 | cuhk03-market-layout | 500 | 50.0 / 31.2 | – |" in shown
    assert "over 3 seeds, a number without it is of one seed; parameters" in shown
    assert "`cuhk03-market-layout` has a split of its own" in shown
    assert "| ID loss | 50.0 ± 1.2 | 30.0 ± 0.5 |  |  |" in shown
    assert "| + warm-up | 50.0 ± 1.2 | 30.0 ± 0.5 | +2.0 (-0.5 to +4.5) | within noise |" in shown
    assert "| network | data set | parameters | as the papers | as the code |" in shown
    forms = "50.0 ± 1.2 / 31.2 ± 0.5 | 50.0 ± 1.2 / 8.0 ± 0.5"
    assert f"| ResNet50 | market1501 | 500 | {forms} |" in shown
    assert "± is the standard deviation over 3 seeds" in shown
    depends = "epochs from the shipped weight, single query, cosine distance, cpu, bfloat16;"
    assert f"osnet_x0_25, market1501 at 96×48, 6 {depends} mean" in shown
    assert "6 epochs from each network's own 4 on synthetic-a, single query" in shown
    for name in ("tricks", "networks"):
        table = pd.read_csv(tables / f"{name}.csv").assign(dataset="synthetic-a")
        table.to_csv(tables / f"{name}.csv", index=False)
    assert "trick" not in readme.render(tmp_path) and "ResNet50" not in readme.render(tmp_path)
