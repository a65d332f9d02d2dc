"""The one command line: every verb explains itself, and mistakes are one clear error."""

import pytest

from reidlab.__main__ import VERBS, main


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb, capsys):
    with pytest.raises(SystemExit) as end:
        main([verb, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert end.value.code == 0
    assert f"reidlab {verb}" in shown and VERBS[verb][1:] in shown


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["notebook", "smoke", "05-comparson"], "'05-comparson' is not known. Did you mean"),
        (["run", "smoke", "a-nine"], "run 'a-nine' is not known. Did you mean a-none"),
        (["run", "smoke", "a-none", "--seed", "7"], "run 'a-none' has no seed 7. It has: 0."),
        (["plan", "smok"], "profile 'smok' is not known. Did you mean smoke"),
        (["rescore", "smoke", "a-none", "euclid"], "distance is 'euclid'; known are euclidean"),
        (["own", "nowhere"], "nowhere"),
        (["export", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_one_clear_error(arguments, complaint, capsys):
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith("\nError: ") and complaint in said and "Traceback" not in said


def test_results_that_cannot_be_written_are_one_clear_error(tmp_path, monkeypatch, capsys):
    (tmp_path / "results").write_text("a file, as a link that was copied from elsewhere")
    monkeypatch.setenv("REIDLAB_RESULTS", str(tmp_path / "results"))
    for arguments in (["report", "smoke"], ["study", "smoke"]):
        assert main(arguments) == 1
        said = capsys.readouterr().err
        assert f"Error: {tmp_path}/results/smoke: Not a directory. See that" in said


def test_plan_alone_lists_the_studies(capsys):
    assert main(["plan"]) == 0
    assert "embedded " in capsys.readouterr().out


def test_what_follows_two_dashes_is_snakemakes(monkeypatch):
    """As `make study` calls it, with options before them: argparse alone refuses these."""
    seen = []
    monkeypatch.setattr("reidlab.study.steps.make", lambda *given: seen.append(given[1:]) or 0)
    assert main(["study", "smoke", "--cores", "3", "--", "--until", "data", "-n"]) == 0
    assert main(["study", "smoke", "--cores", "3"]) == 0
    assert seen == [(3, ["--until", "data", "-n"]), (3, [])]
