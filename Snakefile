# The study as a graph: data -> runs -> tables and figures -> report.
#
#   snakemake -n                                   the plan of the embedded profile
#   snakemake --cores 2                            carry it out
#   snakemake --cores 2 --config profile=market1501 data=/folder/with/the/archives
#   snakemake --executor slurm --jobs 8 ...        the same graph on a cluster; on kubernetes too,
#                                                  with the checkout on a volume that all jobs see
#
# `make study` does the same and sets everything up first. Every job is one command of
# reidlab/study/steps.py that can be typed by hand.

import os
import re
import sys

from reidlab.study import steps as study
from reidlab.common.errors import ReidlabError
from reidlab.study.notebooks import failures
from reidlab.study.sources import imported_by

if config.get("data"):
    # Jobs inherit it; on other nodes too, where this file is read again with the same config.
    os.environ["REIDLAB_DATA"] = os.path.abspath(os.path.expanduser(str(config["data"])))

try:
    PROFILE = study.load_profile(str(config.get("profile", "embedded")))
    study.check_notebooks(PROFILE)
except ReidlabError as error:
    sys.exit(f"\nError: {error}")
os.environ["REIDLAB_PLAN"] = PROFILE.to_json()  # so that no job has to check it again

RESULTS = os.path.relpath(PROFILE.results)

# Results are in git, and after a clone their times say nothing. What is up to date is told by
# marks that are not in git: a fresh clone remakes everything. A mark's content changes with what
# it stands for, since Snakemake takes a newer file of the same content for unchanged.
DONE = f"{RESULTS}/.done"


def code_of(*files):
    """The files of the package that the given modules and notebooks import."""
    return [os.path.relpath(file) for file in imported_by(*files)]


def source_notebook(name):
    """A notebook in its source form."""
    return f"notebooks/{name}.ipynb"


wildcard_constraints:
    name=r"[^/]+",


localrules:
    all,
    report,


onstart:
    # A dry run comes nowhere near here: a plan needs no data.
    try:
        study.require_data(PROFILE)
    except ReidlabError as error:
        sys.exit(f"\nError: {error}")
    for file in failures(PROFILE.results):
        file.unlink()


onerror:
    # Snakemake's own report is long: the last lines say which notebook failed, where and why.
    for file, message in failures(PROFILE.results).items():
        sys.stderr.write(f"\nError: {message}\n  The notebook as far as it came: {file}\n")


rule all:
    input:
        f"{DONE}/report",


rule data:
    input:
        code_of("reidlab/data/__init__.py"),
    output:
        f"{DONE}/data/{{name}}",
    message:
        "data {wildcards.name}"
    threads: PROFILE.resources["threads"]
    resources:
        mem_mb=PROFILE.resources["mem_mb"],
        runtime=PROFILE.resources["runtime"],
    shell:
        "{sys.executable:q} -m reidlab.study.steps data {PROFILE.name} {wildcards.name:q}"


def one_of(names):
    """A pattern that only these names match."""
    return "|".join(map(re.escape, names)) or "(?!)"


def before_run(wildcards):
    """What a run waits for: its data, and the run that it starts from."""
    sources = filter(None, [PROFILE.source(wildcards.name)])
    return [
        f"{DONE}/data/{PROFILE.runs[wildcards.name]['dataset']}",
        *[f"{DONE}/run/{source}" for source in sources],
    ]


rule run:
    input:
        source_notebook(study.TRAINING),
        code_of(source_notebook(study.TRAINING)),
        before_run,
    output:
        f"{RESULTS}/notebooks/{study.TRAINING}/{{name}}.ipynb",
        f"{DONE}/run/{{name}}",
    wildcard_constraints:
        name=one_of(PROFILE.single),
    params:
        # Not used by the command: when a run's settings change, Snakemake executes it again.
        settings=lambda wildcards: PROFILE.runs[wildcards.name],
    message:
        "run {wildcards.name}"
    threads: PROFILE.resources["threads"]
    resources:
        mem_mb=PROFILE.resources["mem_mb"],
        runtime=PROFILE.resources["runtime"],
        gpu=PROFILE.resources["gpu"],
    priority: 1  # the longest chain of the graph is one of runs: notebooks fill the gaps
    shell:
        "OMP_NUM_THREADS={threads} {sys.executable:q} -m reidlab.study.steps run {PROFILE.name}"
        " {wildcards.name:q}"


# One of the runs of a family, which differ in their seeds: as above, without a notebook each.
rule repeat:
    input:
        code_of("reidlab/training/loop.py"),
        before_run,
    output:
        f"{DONE}/run/{{name}}",
    wildcard_constraints:
        name=one_of(member for family in PROFILE.families.values() for member in family),
    params:
        settings=lambda wildcards: PROFILE.runs[wildcards.name],
    message:
        "run {wildcards.name}"
    threads: PROFILE.resources["threads"]
    resources:
        mem_mb=PROFILE.resources["mem_mb"],
        runtime=PROFILE.resources["runtime"],
        gpu=PROFILE.resources["gpu"],
    priority: 1
    shell:
        "OMP_NUM_THREADS={threads} {sys.executable:q} -m reidlab.study.steps run {PROFILE.name}"
        " {wildcards.name:q}"


rule analysis:
    input:
        lambda wildcards: source_notebook(wildcards.name),
        lambda wildcards: code_of(source_notebook(wildcards.name)),
        "results/published.csv",
        [f"{DONE}/data/{dataset}" for dataset in PROFILE.datasets],
        lambda wildcards: [
            f"{DONE}/run/{run}" for run in PROFILE.notebooks[wildcards.name].needs
        ],
    output:
        f"{RESULTS}/notebooks/{{name}}.ipynb",
        f"{DONE}/notebook/{{name}}",
    params:
        settings=lambda wildcards: PROFILE.notebooks[wildcards.name].parameters,
    message:
        "notebook {wildcards.name}"
    threads: PROFILE.resources["threads"]
    resources:
        mem_mb=PROFILE.resources["mem_mb"],
        runtime=PROFILE.resources["runtime"],
        gpu=PROFILE.resources["gpu"],
    shell:
        "OMP_NUM_THREADS={threads} {sys.executable:q} -m reidlab.study.steps notebook {PROFILE.name}"
        " {wildcards.name:q}"


rule report:
    input:
        [f"{DONE}/run/{name}" for name in PROFILE.runs],
        [f"{DONE}/notebook/{name}" for name in PROFILE.notebooks],
    output:
        f"{DONE}/report",
    message:
        "report"
    shell:
        "{sys.executable:q} -m reidlab.study.steps report {PROFILE.name}"
