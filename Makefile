# The way in. `make` lists the targets.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.SUFFIXES:

# The hypervisor of `make run`: libvirt's in-process test driver, or qemu:///system, qemu:///session.
URI ?= test:///default
# Processes that run the tests side by side: a number, or `auto` for one a processor.
WORKERS ?= auto
# How many times as much `make soak` does, and where its chances begin.
SOAK ?= 20
SEED ?= $(shell date +%s)
SEED := $(SEED)
# Seconds that `make fuzz` spends on each decoder.
FUZZ ?= 60
# Further arguments of `make test`'s pytest, and of `make bench`.
ARGS ?=

BIN := .venv/bin
PYTHON := $(BIN)/python
PACKAGES := vdsm_core vdsm_bridge $(patsubst %/py.typed,%,$(wildcard plugins/*/*/py.typed))

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

.PHONY: setup
setup: ## install everything that running and testing need
	@scripts/setup test

.PHONY: run
run: ## run vdsmd in the foreground (URI=qemu:///system for real machines)
	@scripts/setup run
	@exec scripts/run "$(URI)"

.PHONY: demo
demo: ## a tour: two machines, over XML-RPC, REST and vdsmsh
	@scripts/setup run
	@exec $(PYTHON) scripts/demo.py

.PHONY: lint
lint: setup ## style, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict $(PACKAGES)
	$(BIN)/lint-imports

.PHONY: test
test: lint ## lint, then every test (ARGS: for pytest)
	$(PYTHON) -m pytest -n $(WORKERS) $(ARGS)

.PHONY: soak
soak: setup ## do by chance what the tests do, many times more (SOAK: times; SEED: of a run to replay)
	VDSM_SOAK=$(SOAK) VDSM_SEED=$(SEED) $(PYTHON) -m pytest -n $(WORKERS) -m soak -v \
		--hypothesis-seed=$(SEED) --timeout=7200 $(ARGS)

.PHONY: fuzz
fuzz: setup ## fuzz every decoder, guided by coverage (FUZZ: seconds for each; ARGS: targets, --keep)
	$(PYTHON) -m tests.fuzz --seconds $(FUZZ) $(ARGS)

.PHONY: isolated
isolated: setup ## try each plugin alone with the core, in an environment of its own (ARGS: names, --all)
	PYTHONPATH=. $(PYTHON) packaging/isolated.py $(ARGS)

.PHONY: dist
dist: setup ## build every sdist and wheel into dist/; two builds are equal
	$(PYTHON) packaging/dist.py dist

.PHONY: packages
packages: setup ## build the Debian packages in a Debian 13 folder, and try them in another (as root)
	$(PYTHON) -m pytest -s -o pythonpath=". packaging" packaging/tests $(ARGS)

.PHONY: bench
bench: setup ## measure, each figure beside its yardstick (ARGS: for bench)
	$(PYTHON) -m bench $(ARGS)

.PHONY: docs
docs: setup ## write the generated reference, manual pages and completions
	$(BIN)/vdsm-tool docs --output docs/reference --plugins base $(notdir $(patsubst %/,%,$(wildcard plugins/*/)))
	$(PYTHON) packaging/manuals.py

.PHONY: clean
clean: ## remove what was built, the virtual environment included
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf *.egg-info plugins/*/*.egg-info examples/*/*.egg-info
