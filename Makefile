# Everything happens in .venv; nothing is installed elsewhere, but for what test-tools names.
PYTHON ?= python3
BIN    := .venv/bin
STAMP  := .venv/.made
# What runs tables or processes: a tracer would only slow it.
UNTRACED := tests/model tests/simulation tests/integration
FAST   := $(BIN)/python -m pytest -m "not slow and not tools" -n auto --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-slow test-tools lint check diagrams bench bench-ram

help: ## Say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

venv: $(STAMP) ## Make .venv with replug and its development tools (PYTHON=python3.12 picks another)

$(STAMP): pyproject.toml constraints.txt tools/make_venv.sh
	@PYTHON="$(PYTHON)" tools/make_venv.sh .venv
	@touch $@

demo: $(STAMP) ## Migrate a VM between two real processes on this machine
	@$(BIN)/replug demo

test: $(STAMP) ## Run the fast tests, Python only; branch coverage of devices and engine
	@$(FAST) $(UNTRACED)
	@$(FAST) --cov --cov-report=term $(UNTRACED:%=--ignore=%)

test-slow: $(STAMP) ## Run the tests with real timers or large state spaces (eight minutes)
	@$(BIN)/python -m pytest -m slow

test-tools: $(STAMP) ## Run the tests that need other programs (node, Graphviz, QEMU, …); installs them
	@tools/install_test_tools.sh
	@$(BIN)/python -m pytest -m tools

lint: $(STAMP) ## Check style, types and the direction of imports
	@$(BIN)/ruff check && $(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

check: lint test ## Lint and test

diagrams: $(STAMP) ## Export the diagrams of every machine, also into the README
	@$(BIN)/replug diagram --all --out diagrams
	@$(BIN)/python tools/readme_diagram.py

bench: $(STAMP) ## Measure the headline figures, each beside its rival
	@$(BIN)/python -m benchmarks.runtime
	@$(BIN)/python -m benchmarks.simulation
	@$(BIN)/python -m benchmarks.checker
	@$(BIN)/python -m benchmarks.dirty

bench-ram: $(STAMP) ## Measure migrations of 4 GiB beside QEMU's (needs QEMU, 13 GiB free, over an hour)
	@$(BIN)/python -m benchmarks.ram
