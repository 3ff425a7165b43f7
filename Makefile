# `make train` and `make test` are all that is needed on a fresh machine; both set up .venv first, once.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
MUTMUT := .venv/.mutmut-installed

.PHONY: help setup train test mutants lint types docs audit bench clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(STAMP) ## make .venv with everything in it

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@touch $@

train: $(STAMP) ## train PPL on the embedded data and print its scores
	$(BIN)/python -m avvp_pl.train +experiment=ppl_soft

test: $(STAMP) ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

$(MUTMUT): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[mutants]"
	@touch $@

mutants: $(MUTMUT) ## break the code in two thousand ways and count what the tests notice (two hours)
	rm -rf mutants
	OMP_NUM_THREADS=1 $(BIN)/mutmut run
	$(BIN)/python -m tests.mutants
	$(BIN)/python -m tests.random_mutants

lint: $(STAMP) ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## check types, strictly
	$(BIN)/mypy
	$(BIN)/mypy .ci/audit.py

docs: $(STAMP) ## write the pages that are made from the comments in conf/, from docstrings and from schemas
	$(BIN)/python -m avvp_pl.commands.help > docs/settings.md
	$(BIN)/python -m tests.api

audit: $(STAMP) ## look for known vulnerabilities in the pinned packages
	$(BIN)/python .ci/audit.py

bench: $(STAMP) ## measure speed and memory (an hour; rewrites benchmarks/README.md)
	$(BIN)/python -m benchmarks

clean: ## remove .venv and caches, keep outputs
	rm -rf .venv mutants *.egg-info .mypy_cache .pytest_cache .ruff_cache
