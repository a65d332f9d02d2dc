# The study as a graph: data -> runs -> tables and figures -> report.
#
#   snakemake -n                                   the plan of the embedded profile
#   snakemake --cores 2                            carry it out
#   snakemake --cores 2 --config profile=market1501 data=/folder/with/the/archives
#   snakemake --executor slurm --jobs 8 ...        the same graph on a cluster with a shared
#                                                  file system (or kubernetes, see README.md)
#
# `make study` does the same and sets everything up first. Every job is one command of
# reidlab/study.py that can be typed by hand.

import os
from glob import glob

from snakemake.exceptions import WorkflowError

from reidlab import study
from reidlab.errors import ReidlabError

if config.get("data"):
    # Jobs inherit it; on other nodes too, where this file is read again with the same config.
    os.environ["REIDLAB_DATA"] = os.path.abspath(os.path.expanduser(str(config["data"])))

try:
    PROFILE = study.load_profile(str(config.get("profile", "embedded")))
except ReidlabError as error:
    raise WorkflowError(str(error)) from None

RESULTS = os.path.relpath(PROFILE.results)

# Results are in git, and after a clone their times say nothing. What is up to date is told by
# marks that are not in git: a fresh clone remakes everything.
DONE = f"{RESULTS}/.done"

# A change of the plots does not train anything again.
SHOW = {"reidlab/results.py", "reidlab/study.py", "reidlab/notebooks.py", "reidlab/profiles.py"}
CODE = sorted(glob("reidlab/**/*.py", recursive=True))
DATA_CODE = [file for file in CODE if file.startswith("reidlab/data/")]
TRAINING_CODE = [file for file in CODE if file not in SHOW and "/plots" not in file]
TRAINING_CODE += sorted(glob("reidlab/**/*.safetensors", recursive=True))

RUN_FILES = ["metrics.json", "model.safetensors", "history.csv", "per_query.parquet"]


def run_files(name):
    """Files of a finished run that others read."""
    return [f"{RESULTS}/runs/{name}/{file}" for file in RUN_FILES]


def source_notebook(name):
    """A notebook in its source form."""
    return f"notebooks/{name}.ipynb"


wildcard_constraints:
    name=r"[^/]+",


localrules:
    all,
    report,


rule all:
    input:
        f"{DONE}/report",


rule data:
    input:
        DATA_CODE,
    output:
        touch(f"{DONE}/data/{{name}}"),
    threads: PROFILE.resources["threads"]
    resources:
        mem_mb=PROFILE.resources["mem_mb"],
        runtime=PROFILE.resources["runtime"],
    shell:
        "python -m reidlab.study data {PROFILE.name} {wildcards.name:q}"


rule run:
    input:
        source_notebook(study.TRAINING),
        TRAINING_CODE,
        lambda wildcards: f"{DONE}/data/{PROFILE.runs[wildcards.name]['dataset']}",
        lambda wildcards: (
            run_files(PROFILE.source(wildcards.name)) if PROFILE.source(wildcards.name) else []
        ),
    output:
        run_files("{name}"),
        f"{RESULTS}/notebooks/{study.TRAINING}/{{name}}.ipynb",
        touch(f"{DONE}/run/{{name}}"),
    params:
        # Not used by the command: when a run's settings change, Snakemake trains it again.
        settings=lambda wildcards: PROFILE.runs[wildcards.name],
    threads: PROFILE.resources["threads"]
    resources:
        mem_mb=PROFILE.resources["mem_mb"],
        runtime=PROFILE.resources["runtime"],
        gpu=PROFILE.resources["gpu"],
    shell:
        "OMP_NUM_THREADS={threads} python -m reidlab.study run {PROFILE.name} {wildcards.name:q}"


rule analysis:
    input:
        lambda wildcards: source_notebook(wildcards.name),
        CODE,
        "results/published.csv",
        [f"{DONE}/data/{dataset}" for dataset in PROFILE.datasets],
        lambda wildcards: [
            file for run in PROFILE.notebooks[wildcards.name].needs for file in run_files(run)
        ],
    output:
        f"{RESULTS}/notebooks/{{name}}.ipynb",
        touch(f"{DONE}/notebook/{{name}}"),
    params:
        settings=lambda wildcards: PROFILE.notebooks[wildcards.name].parameters,
    threads: PROFILE.resources["threads"]
    resources:
        mem_mb=PROFILE.resources["mem_mb"],
        runtime=PROFILE.resources["runtime"],
        gpu=PROFILE.resources["gpu"],
    shell:
        "OMP_NUM_THREADS={threads} python -m reidlab.study notebook {PROFILE.name}"
        " {wildcards.name:q}"


rule report:
    input:
        [f"{DONE}/run/{name}" for name in PROFILE.runs],
        [f"{DONE}/notebook/{name}" for name in PROFILE.notebooks],
    output:
        touch(f"{DONE}/report"),
    shell:
        "python -m reidlab.study report {PROFILE.name}"
