# What a developer runs, and CI with it. PYTHON, VENV and PROCESSES may be set; ARGS is added to
# what runs.

PYTHON ?= python3
VENV ?= .venv
# Tests that run side by side, file by file: most wait for servers and syncs half of their time.
PROCESSES ?= 2
BIN = $(VENV)/bin

.PHONY: help install lint check test conformance torture bench serve

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.dev ## Make .venv with the registry and all that its tests need

lint: $(VENV)/.dev ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

check: $(VENV)/.dev ## Check types
	$(BIN)/mypy

test: $(VENV)/.dev ## Run the whole test suite; a client that is missing is skipped
	$(BIN)/pytest -m 'not torture' --numprocesses $(PROCESSES) --dist loadfile $(ARGS)

conformance: $(VENV)/.dev ## Run the OCI conformance suite alone; CONFORMANCE may name its binary
	@test -n "$$CONFORMANCE" || .ci/tools conformance
	$(BIN)/pytest tests/test_conformance.py $(ARGS)

torture: $(VENV)/.dev ## Run minutes of random faults
	$(BIN)/pytest -m torture $(ARGS)

bench: $(VENV)/.dev ## Measure against other registries
	$(BIN)/python benchmarks/run.py $(ARGS)

serve: $(VENV)/.serve ## Serve on 127.0.0.1:8000, data in ./registry-data
	$(BIN)/registry-wsgi $(ARGS)

$(VENV)/.serve: $(VENV)/bin/pip setup.cfg setup.py
	$(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/bin/pip setup.cfg setup.py
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.serve

$(VENV)/bin/pip:
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo 'No virtual environment could be made: apt-get install python3-venv' >&2; exit 1; }
