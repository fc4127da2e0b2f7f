# Every verb a person needs. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PY := .venv/bin/python
BIN := .build/bin
COMPILE := .venv/bin/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-annotate --no-header --universal
export KUBECTL ?= $(CURDIR)/$(BIN)/kubectl

help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- the development environment
.venv/.made: locks/dev.txt locks/uv.txt operator/pyproject.toml worker/pyproject.toml
	@python3 -m venv .venv && .venv/bin/pip install --quiet --require-hashes -r locks/uv.txt
	@.venv/bin/uv pip install --quiet --python $(PY) --require-hashes -r locks/dev.txt
	@.venv/bin/uv pip install --quiet --python $(PY) --no-deps --no-build-isolation -e operator -e worker && touch $@

venv: .venv/.made ## Make the virtual environment from the locks

lock: venv ## Resolve the dependencies anew into locks/
	@for part in operator worker; do $(COMPILE) $$part/pyproject.toml -o locks/$$part.txt; done
	@$(COMPILE) --group dev operator/pyproject.toml worker/pyproject.toml -o locks/dev.txt
	@$(COMPILE) locks/uv.in -o locks/uv.txt

# --- judging the code
check: venv ## Lint, types, layers
	@.venv/bin/ruff check . && .venv/bin/ruff format --check .
	@.venv/bin/mypy && .venv/bin/lint-imports

unit: venv ## The tests people run all day: no network, seconds
	@.venv/bin/pytest -q tests/unit

.PHONY: help venv lock check unit
