# From a bare clone `make demo` and `make test` need Python 3.11 or newer, make and a package index.
# Everything they install lies in .venv; `make clean` removes it.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
# The first Python that is new enough and really runs (a version manager's shim may not).
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3 python; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo "$$python" && break; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check install
TESTS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test install check format bench clean

help:
	@echo 'make demo      show it all: a database, a model, a million scores'
	@echo 'make test      run the tests (TESTS="tests/settings -k dsn" selects some)'
	@echo 'make install   make .venv with pgseer in it'
	@echo 'make check     format, lint, types and import rules'
	@echo 'make format    rewrite the code in the house format'
	@echo 'make bench     measure against PgBouncer, pandas and scikit-learn'
	@echo 'make clean     remove what the others made'

demo: $(VENV)/.installed
	@$(BIN)/pgseer demo

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest $(TESTS)

install: $(VENV)/.installed

check: $(VENV)/.installed-check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-check
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find proxy tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# ---- the virtual environment: once, and again when pyproject.toml changes

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then echo 'make: no Python 3.11 or newer was found; name one: make PYTHON=...' >&2; exit 1; fi
	@echo 'making $(VENV) with $(PYTHON)'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo 'make: this Python cannot make virtual environments (Debian: install python3-venv)' >&2; exit 1; }

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@echo 'installing pgseer and what it needs into $(VENV) (once; about a minute)'
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-test $(VENV)/.installed-check $(VENV)/.installed-bench: pyproject.toml | $(BIN)/python
	@echo 'installing pgseer with all that "make $(subst .installed-,,$(@F))" needs into $(VENV) (once)'
	$(PIP) --editable '.[$(EXTRAS)]'
	@touch $@ $(VENV)/.installed

# What the tests of node-postgres need, by npm; without it they are skipped.
$(VENV)/node: tests/clients/node/package.json | $(BIN)/python
	@rm -rf $@ && mkdir $@ && cp $< $@
	npm install --prefix $@ --silent --no-package-lock --no-audit --no-fund || { rm -rf $@; exit 1; }
	@touch $@

$(VENV)/.installed-test: EXTRAS := test
# mypy reads the tests' libraries too.
$(VENV)/.installed-check: EXTRAS := test,check
$(VENV)/.installed-bench: EXTRAS := bench
