# Two commands are enough on a fresh machine: `make demo` and `make test`. Each sets up what it needs.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
FRAMEWORKS := .venv-compatibility
FRAMEWORKS_READY := $(FRAMEWORKS)/.ready
REQUIREMENTS := compatibility/requirements.txt compatibility/requirements-without-dependencies.txt

.PHONY: demo test fuzz lint bench docs compatibility clean

demo: $(READY)
	$(BIN)/unvanish demo

test: $(READY)
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

# Two hundred programs composed at random, each run with and without us: about ten minutes on two cores.
fuzz: $(READY)
	$(BIN)/python tests/fuzz

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

bench: $(READY)
	$(BIN)/python -m benchmarks

docs: $(READY)
	$(BIN)/python -m unvanish.docgen docs

compatibility: $(FRAMEWORKS_READY)
	$(FRAMEWORKS)/bin/python -m compatibility

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "unvanish needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

$(FRAMEWORKS_READY): pyproject.toml constraints.txt $(REQUIREMENTS)
	$(PYTHON) -m venv $(FRAMEWORKS)
	$(FRAMEWORKS)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
	$(FRAMEWORKS)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --requirement $(word 1,$(REQUIREMENTS)) --editable .
	$(FRAMEWORKS)/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement $(word 2,$(REQUIREMENTS))
	touch $(FRAMEWORKS_READY)

clean:
	rm -rf .venv .venv-compatibility build dist unvanish-runs
