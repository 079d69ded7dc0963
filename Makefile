# `make help` lists the targets. Everything is installed into .venv; nothing outside the checkout is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_FLAGS := --disable-pip-version-check --quiet --progress-bar off --constraint constraints.txt

# Test processes side by side, a file at a time; each takes up to 2 GB.
TEST_PROCESSES ?= 2

export HF_HUB_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is not installed; install Python 3.11 or later, or set PYTHON=" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is older than 3.11; set PYTHON= to a later one" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV) (a few minutes, once)"
	$(BIN)/pip install $(PIP_FLAGS) --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "installing the development tools"
	$(BIN)/pip install $(PIP_FLAGS) --editable '.[dev]'
	@touch $@

.PHONY: install
install: $(VENV)/.installed ## Create .venv and install the package

.PHONY: quickstart
quickstart: $(VENV)/.installed ## Folk tunes in, a new tune out: pretrain, fine-tune, merge, evaluate, compose, engrave, play
	@HF_HUB_OFFLINE=1 $(BIN)/python -m chatmusician.pipeline +experiment=quickstart

.PHONY: demo
demo: $(VENV)/.installed ## Play the newest model in the browser, with the settings for small ones: http://127.0.0.1:8888
	$(BIN)/pip install $(PIP_FLAGS) --editable '.[demo]'
	@HF_HUB_OFFLINE=1 $(BIN)/python -m chatmusician.demo generation=nano

.PHONY: extras
extras: $(VENV)/.installed-dev ## Install what some tests are skipped without: sweeps, dashboards, Ray, Gradio, llama.cpp (compiled, 7 minutes)...
	$(BIN)/pip install $(PIP_FLAGS) --editable '.[dashboards,demo,eval,llama-cpp,quantised,ray,sweeps]'

.PHONY: test
test: $(VENV)/.installed-dev ## Run every test
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

.PHONY: smoke-7b
smoke-7b: $(VENV)/.installed-dev ## Two steps of the real recipe at LLaMA2-7B's shapes: 22 GiB of memory, 25 GB of disk, no GPU
	@HF_HUB_OFFLINE=1 $(BIN)/python experiments/benchmarks/smoke_7b.py

.PHONY: lint
lint: $(VENV)/.installed-dev ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: format
format: $(VENV)/.installed-dev ## Format the code and sort the imports
	$(BIN)/ruff check --fix --select I .
	$(BIN)/ruff format .

.PHONY: clean
clean: ## Remove what runs left behind: outputs, caches (not .venv)
	rm -rf outputs multirun build dist .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
