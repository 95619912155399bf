# Everything here needs Python 3.10 or newer (with venv) and make; the rest is installed into .venv.

PYTHON ?= python3
# The oldest supported one, for the oldest dependencies, if it is there.
OLDEST_PYTHON ?= $(shell python3.10 --version > /dev/null 2>&1 && echo python3.10 || echo $(PYTHON))
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Tests run at the same time in so many processes: as many as there are processors. WORKERS=0: in this one.
WORKERS ?= auto
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
# PyTorch for `make test-torch`, in the words of pip, and not installed where there is one: TORCH=torch==2.13.0 for example.
TORCH ?= torch

# Figures are written to files: no display is needed anywhere.
export MPLBACKEND = Agg

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install report test test-torch test-slow test-last-bits test-oldest honesty coverage lint figures bench scaling clean

help:  ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' Makefile

# One stamp for each set of dependencies, so that `make report` installs no test tools.
$(VENV)/.installed: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "mfdnn needs Python 3.10 or newer; set PYTHON=...")'
	$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) --editable '.[test]'
	@touch $@

$(VENV)/.installed-torch: $(VENV)/.installed-test
	$(BIN)/python -c 'import torch' 2> /dev/null || $(PIP) --editable '.[torch]' '$(TORCH)'
	$(BIN)/python -c 'import torch'
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed-test
	$(PIP) --editable '.[bench]'
	@touch $@

$(VENV)/.installed-lint: $(VENV)/.installed
	$(PIP) --editable '.[lint]'
	@touch $@

install: $(VENV)/.installed  ## install the package into .venv

report: $(VENV)/.installed  ## draw the one-page report of an architecture: report.png
	$(BIN)/mfdnn report -o report.png

test: $(VENV)/.installed-test  ## run the tests: units, doctests, README, notebooks, command line
	$(PYTEST)

test-torch: $(VENV)/.installed-torch  ## run the tests that compare with PyTorch, which is installed for them
	$(BIN)/python -m pytest -m torch

test-slow: $(VENV)/.installed-test  ## run what `make test` leaves out: more draws, more cases, the longest notebooks
	$(PYTEST) -m slow

# Kernels are compiled first: the compiler knows the functions of NumPy, and not those that are moved.
test-last-bits: export OPENBLAS_CORETYPE = Nehalem
test-last-bits: export NUMBA_CPU_NAME = generic
test-last-bits: export NUMBA_CPU_FEATURES =
test-last-bits: export NUMBA_CACHE_DIR = $(CURDIR)/build/numba
test-last-bits: export PYTHONPATH = $(CURDIR)/tests
test-last-bits: $(VENV)/.installed-test  ## run the tests as on another processor, whose last bits are others
	$(BIN)/python tests/every_kernel.py > /dev/null
	$(PYTEST) -p last_bits

# About half an hour on two processors; the seed is in the table. HONESTY='3000 1' draws others.
honesty: $(VENV)/.installed-test  ## compare errors with brute force for thousands of random activations, write docs/accuracy.md
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python tests/honesty.py $(HONESTY)

# What the old versions say about their own, newer dependencies is not for this package to mend.
test-oldest:  ## run `make test` with the oldest dependencies that setup.cfg admits, in .venv-oldest
	@mkdir -p build
	$(PYTHON) .ci/oldest.py > build/oldest.txt
	PIP_CONSTRAINT=$(CURDIR)/build/oldest.txt PYTEST_ADDOPTS='-W ignore::DeprecationWarning' \
		$(MAKE) test VENV=.venv-oldest PYTHON=$(OLDEST_PYTHON)

# The figures of the papers take the interpreter too long: their lines are counted in a compiled run.
coverage: $(VENV)/.installed-test  ## run a quick suite with every kernel interpreted, and count the lines it covers
	NUMBA_DISABLE_JIT=1 $(BIN)/coverage run -m pytest -r fE -m ''
	$(BIN)/coverage run --append -m pytest -m '' tests/test_papers.py tests/test_cli.py tests/test_gaussian.py
	$(BIN)/coverage report

lint: $(VENV)/.installed-lint  ## check style (ruff) and types (mypy)
	$(BIN)/ruff check .
	$(BIN)/mypy

figures: $(VENV)/.installed-test  ## draw every figure again
	$(BIN)/mfdnn figure --all

bench: $(VENV)/.installed-bench  ## time every bar beside a plain baseline, and write the table of benchmarks/README.md
	@mkdir -p .benchmarks
	$(BIN)/python -m pytest benchmarks --benchmark-json=.benchmarks/bars.json
	$(BIN)/python benchmarks/table.py .benchmarks/bars.json

scaling: $(VENV)/.installed  ## measure how times grow, and draw figures/scaling.png
	$(BIN)/python benchmarks/scaling.py

clean:  ## remove .venv, caches and build products
	rm -rf $(VENV) .venv-oldest build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .coverage
	rm -f report.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
