# The study as a graph: data -> runs -> tables and figures -> report.
#
#   snakemake -n                                   the plan of the embedded profile
#   snakemake --cores 2                            carry it out
#   snakemake --cores 2 --config profile=market1501 data=/folder/with/the/archives
#   snakemake --executor slurm --jobs 8 ...        the same graph on a cluster; on kubernetes too,
#                                                  with the checkout on a volume that all jobs see
#
# `make study` does the same and sets everything up first. Every job is one command, `python -m
# reidlab VERB`, that can be typed by hand.

import os
import sys

from reidlab.common import paths
from reidlab.common.errors import ReidlabError
from reidlab.recipe.names import GENERATED
from reidlab.recipe.study import load
from reidlab.study.notebooks import check_notebooks, failures
from reidlab.study.sources import imported_by

if config.get("data"):
    # Jobs inherit it; on other nodes too, where this file is read again with the same config.
    os.environ["REIDLAB_DATA"] = os.path.abspath(os.path.expanduser(str(config["data"])))

try:
    STUDY = load(str(config.get("profile", "embedded")))
    check_notebooks(STUDY)
except ReidlabError as error:
    sys.exit(f"\nError: {error}")

STAMP = paths.stamp()
RESULTS = os.path.relpath(STUDY.results)

# Results are in git, and after a clone their times say nothing. What is up to date is told by
# marks that are not in git: a fresh clone remakes everything, or finds at once that a run is
# current. A mark's content changes with what it stands for, since Snakemake takes a newer file of
# the same content for unchanged.
DONE = f"{RESULTS}/.done"
JOB = dict(
    mem_mb=STUDY.resources["mem_mb"],
    runtime=STUDY.resources["runtime"],
)


def code_of(*files):
    """The files of the package that the given modules and notebooks import."""
    return [os.path.relpath(file) for file in imported_by(*files)]


def source_notebook(name):
    """A notebook in its source form."""
    return f"notebooks/{name}.ipynb"


def marks(names):
    """The marks of all trainings of some runs."""
    return [f"{DONE}/run/{name}/{seed}" for name in names for seed in STUDY[name].seeds]


def before_run(wildcards):
    """What a training waits for: its data, and the training that it starts from."""
    run, seed = STUDY[wildcards.name], int(wildcards.seed)
    source = run.start.run
    start = [f"{DONE}/run/{source}/{STUDY.source_seed(run.name, seed)}"] if source else []
    return [f"{DONE}/data/{run.config.dataset}", *start]


wildcard_constraints:
    name=r"[a-z0-9-]+",
    seed=r"\d+",


localrules:
    all,
    report,


onstart:
    # A dry run comes nowhere near here: a plan needs no data.
    from reidlab.study.steps import require_data

    try:
        require_data(STUDY)
    except ReidlabError as error:
        sys.exit(f"\nError: {error}")
    for file in failures(STUDY.results):
        file.unlink()


onerror:
    # Snakemake's own report is long: the last lines say which notebook failed, where and why.
    for file, message in failures(STUDY.results).items():
        sys.stderr.write(f"\nError: {message}\n  The notebook as far as it came: {file}\n")


rule all:
    input:
        f"{DONE}/report",


rule data:
    input:
        code_of("reidlab/data/__init__.py"),
    output:
        f"{DONE}/data/{{name}}",
    params:
        # Not used by the command: when other images stand where the data are, it runs again.
        stamp=lambda wildcards: "" if wildcards.name in GENERATED else STAMP,
    message:
        "data {wildcards.name}"
    threads: STUDY.resources["threads"]
    resources:
        **JOB,
    shell:
        "{sys.executable:q} -m reidlab data {STUDY.name:q} {wildcards.name:q}"


rule run:
    input:
        [] if STUDY.keep else code_of("reidlab/training/loop.py"),
        before_run,
    output:
        f"{DONE}/run/{{name}}/{{seed}}",
    params:
        # Not used by the command: when a run's settings change, Snakemake executes it again.
        settings=lambda wildcards: repr(STUDY[wildcards.name].of_seed(int(wildcards.seed))),
    message:
        "run {wildcards.name}, seed {wildcards.seed}"
    threads: STUDY.resources["threads"]
    resources:
        **JOB,
        gpu=STUDY.resources["gpu"],
    priority: 1  # the longest chain of the graph is one of runs: notebooks fill the gaps
    shell:
        "OMP_NUM_THREADS={threads} {sys.executable:q} -m reidlab run {STUDY.name:q}"
        " {wildcards.name:q} --seed {wildcards.seed}"


rule notebook:
    input:
        lambda wildcards: source_notebook(wildcards.name),
        lambda wildcards: code_of(source_notebook(wildcards.name)),
        "results/published.csv",
        [f"{DONE}/data/{dataset}" for dataset in STUDY.datasets],
        lambda wildcards: marks(STUDY.notebooks[wildcards.name].needs),
    output:
        f"{RESULTS}/notebooks/{{name}}.ipynb",
        f"{DONE}/notebook/{{name}}",
    params:
        settings=lambda wildcards: STUDY.parameters(wildcards.name),
    message:
        "notebook {wildcards.name}"
    threads: STUDY.resources["threads"]
    resources:
        **JOB,
        gpu=STUDY.resources["gpu"],
    shell:
        "OMP_NUM_THREADS={threads} {sys.executable:q} -m reidlab notebook {STUDY.name:q}"
        " {wildcards.name:q}"


rule report:
    input:
        marks(STUDY.runs),
        [f"{DONE}/notebook/{name}" for name in STUDY.notebooks],
    output:
        f"{DONE}/report",
    message:
        "report"
    shell:
        "{sys.executable:q} -m reidlab report {STUDY.name:q}"
