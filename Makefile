# Everything here needs Python 3.10 or newer (with venv) and make; the rest is installed into .venv.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Figures are written to files: no display is needed anywhere.
export MPLBACKEND = Agg

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install report test lint figures bench clean

help:  ## show this list
	@awk -F':.*## ' '/^[a-z]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' Makefile

# One stamp for each set of dependencies, so that `make report` installs no test tools.
$(VENV)/.installed: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "mfdnn needs Python 3.10 or newer; set PYTHON=...")'
	$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) --editable '.[test]'
	@touch $@

$(VENV)/.installed-lint: $(VENV)/.installed
	$(PIP) --editable '.[lint]'
	@touch $@

install: $(VENV)/.installed  ## install the package into .venv

report: $(VENV)/.installed  ## draw the one-page report of an architecture: report.png
	$(BIN)/mfdnn report -o report.png

test: $(VENV)/.installed-test  ## run every test: units, doctests, README, notebooks, command line
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-lint  ## check style (ruff) and types (mypy)
	$(BIN)/ruff check .
	$(BIN)/mypy

figures: $(VENV)/.installed-test  ## draw every figure again
	$(BIN)/mfdnn figure --all

bench: $(VENV)/.installed-test  ## run every benchmark
	set -e; for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

clean:  ## remove .venv, caches and build products
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	rm -f report.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
