# Every target sets up .venv by itself when it is missing or the lock changed.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 2
# Jupyter asks a superuser, as in a container, to say so.
ROOT_FLAG := $(if $(filter 0,$(shell id -u)),--allow-root)

.PHONY: help setup demo test check lab clean

help:  ## Print this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/ /' | awk '{n=$$1; $$1=""; printf "make %-13s%s\n", n, $$0}'

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "alkit needs Python 3.11 or later; this is " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

setup: $(READY)  ## Install into .venv what the lock names

demo: $(READY)  ## Run two cycles of three strategies on street and write the report
	$(BIN)/alkit run experiments/demo.yaml
	$(BIN)/alkit report runs/demo

# Tests start processes of their own, which share the cores.
test: export OMP_NUM_THREADS = 1
test: $(READY)  ## Run all tests but those of the next two, two files at a time
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# The packages of labeling tools pin other versions than ours, so that they have their own place.
FORMATS := .venv-formats

$(FORMATS)/.ready: tests/formats/requirements.lock
	test -x $(FORMATS)/bin/python || $(PYTHON) -m venv $(FORMATS)
	$(FORMATS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<
	touch $@

.PHONY: test-formats
test-formats: export OMP_NUM_THREADS = 1
test-formats: $(READY) $(FORMATS)/.ready  ## Test files of labels with the labeling tools' own code
	$(BIN)/python -m pytest tests/formats

BROWSER := $(VENV)/.browser

$(BROWSER): tests/browser/requirements.lock $(READY)
	command -v chromium && command -v chromedriver || { apt-get update -qq && apt-get install -y -qq chromium chromium-driver; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<
	touch $@

.PHONY: test-browser
test-browser: export OMP_NUM_THREADS = 1
test-browser: $(BROWSER)  ## Test the pages in a real browser; installs Debian's Chromium if there is none
	$(BIN)/python -m pytest tests/browser

.PHONY: faults
faults: $(READY)  ## Plant known faults one after the other; each has to make a test fail
	$(BIN)/python tests/faults/plant.py

.PHONY: bench
bench: $(READY)  ## Measure speed, memory and disk against references, a quarter of an hour
	$(BIN)/python -m benchmarks

check: $(READY)  ## Ruff on code and notebooks; notebooks must be stripped
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/nbstripout --keep-count --verify notebooks/*.ipynb

lab: $(READY)  ## Open JupyterLab on the first notebook, getting_started
	$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/notebooks/getting_started.ipynb $(ROOT_FLAG)

clean:  ## Remove the environment and caches, not the runs
	rm -rf $(VENV) $(FORMATS) build .pytest_cache .ruff_cache .hypothesis *.egg-info
