# make alone lists the verbs. Every verb sets up what it needs first, once.

PROFILE ?= embedded
CORES ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
PYTHON ?= python3

VENV := .venv
# From the checkout, where recipes run: its own path may hold blanks, quotes, anything.
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# uv installs; the one on PATH serves, else a private one is fetched. It stands in a folder of its
# own so that "sync", which removes whatever is not in the lock, does not remove it.
UV = "$$(command -v uv || echo $(VENV)/uv/bin/uv)"

# Recipes find what was given in variables of the shell, as it was given: no quote, dollar or
# backtick in a name or path becomes a command. PATH is for what a lab's terminal or a job calls.
export PATH := $(abspath $(BIN)):$(PATH)
SHELL := /bin/bash
export REIDLAB_PROFILE := $(value PROFILE)
ifdef DATA
export REIDLAB_DATA := $(value DATA)
endif

.DEFAULT_GOAL := help
.PHONY: help setup study smoke test bench lab lint notebooks site weights add lock clean

help: ## list the verbs
	@echo "make VERB, where VERB is one of"
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12 | sed 's/^/  /'
	@echo "Profiles: $$(ls studies | sed -n 's/\.py$$//p' | tr '\n' ' ')"

setup: $(READY) ## set up .venv from requirements.lock (every verb does it by itself)

study: $(READY) ## regenerate every table and figure: PROFILE=embedded, DATA=folder of real data
	@$(BIN)/python -m reidlab study "$$REIDLAB_PROFILE" --cores $(CORES)

site: $(READY) ## the pages of a study's results, in results/<profile>/site: PROFILE=embedded
	@$(BIN)/python -m reidlab site "$$REIDLAB_PROFILE"

smoke: $(READY) ## the whole study in a minute or two, on a handful of generated people
	@$(MAKE) --no-print-directory study PROFILE=smoke

# Notebooks are tested on results of their own, or those of an earlier study could pass for theirs.
test: $(READY) lint ## every test: style, doctests, unit tests, notebooks (nbval)
	@results=$$(mktemp -d) && trap 'rm -rf "$$results"' EXIT && \
	REIDLAB_BATCH=1 REIDLAB_RESULTS="$$results" $(BIN)/python -m pytest --nbval-lax --nbval-current-env \
		--nbval-cell-timeout=120 tests reidlab pedestrians notebooks

bench: $(READY) ## time and memory beside torchreid's: STAGE=name for one, FULL=1 for full sizes
	@$(BIN)/python -m benchmarks.run $(STAGE) $(if $(FULL),--full)

lint: $(READY) ## check style with ruff, and that no photograph gets into git
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m reidlab photographs

lab: $(READY) ## open the checkout in JupyterLab: OPTIONS=what jupyter lab takes
	@test -z "$$REIDLAB_DATA" || REIDLAB_DATA=$$(realpath -m -- "$${REIDLAB_DATA/#\~\//$$HOME/}"); \
	$(BIN)/python -m jupyterlab $$(test "$$(id -u)" != 0 || echo --allow-root) $(OPTIONS) .

notebooks: $(READY) ## re-execute the source notebooks in place, to renew their saved outputs
	@results=$$(mktemp -d) && trap 'rm -rf "$$results"' EXIT && \
	REIDLAB_RESULTS="$$results" $(BIN)/python -m reidlab refresh

weights: $(READY) ## remake the shipped weight that was trained on generated people (20 minutes; DATA=folder of Market-1501)
	@$(MAKE) --no-print-directory study PROFILE=pretrain
	@$(BIN)/python -c "from reidlab.runs.folder import load_run, ship; from reidlab.study import run_folder; \
		print(ship(load_run(run_folder('pretrain', 'synthetic')), 'osnet_x0_25'))"
	@$(BIN)/python -c "from reidlab.pictures.verify import ship; print(ship())"

add: $(READY) ## install another package into .venv: PACKAGE=name
	@$(UV) pip install --python $(BIN)/python $(PACKAGE)

lock: $(READY) ## renew requirements.lock from pyproject.toml
	@$(UV) pip compile --quiet --universal --generate-hashes --all-extras --upgrade \
		pyproject.toml -o requirements.lock

clean: ## remove the environment, caches and marks; results stay
	rm -rf $(VENV) .cache .snakemake .pytest_cache .ruff_cache results/*/.done results/*/.replaced results/smoke
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements.lock pyproject.toml
	@case "$$PWD" in *:*) echo "The path of this checkout, $$PWD, holds a colon, with which no Python"; \
		echo "environment works. Move the folder to a path without, and run the command again."; \
		exit 1;; esac
	@echo "Setting up $(VENV) from requirements.lock, once ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "reidlab needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)."; \
		echo "Name another one: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv --without-pip $(VENV)
	@command -v uv >/dev/null || test -x $(VENV)/uv/bin/uv || { \
		$(PYTHON) -m venv $(VENV)/uv && $(VENV)/uv/bin/python -m pip install --quiet uv; } || { \
		echo "Could not fetch uv with $(PYTHON) -m venv and pip. On Debian and Ubuntu:"; \
		echo "apt install python3-venv. Or install uv yourself; it is used when on PATH."; exit 1; }
	@$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@
