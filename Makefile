# The project's commands; `make` alone lists them.

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=
UPGRADE ?=

export TF_USE_LEGACY_KERAS = 1
export TF_CPP_MIN_LOG_LEVEL = 3
# Without bytecode every import of TFX takes half a minute.
unexport PYTHONDONTWRITEBYTECODE

BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
# Most tests wait or use one core. A file's tests stay together, for they share what is dear to make.
TWO_WORKERS := --numprocesses=2 --dist=loadfile

.DEFAULT_GOAL := help
.PHONY: help setup run test test-fast test-smoke lint format lock bench doctor clean

help: ## List the commands.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## Make or refresh the environment in .venv (a moment when nothing changed).
	@$(PYTHON) requirements/setup_env.py --venv $(VENV)

run: setup ## Set up, fetch MovieLens-100K, run the whole pipeline, serve the model and ask it.
	@$(BIN)/recommender demo --config configs/movielens_100k.yaml

test: setup ## Set up and run all tests.
	$(PYTEST) $(TWO_WORKERS) $(PYTEST_ARGS)

test-fast: setup ## Run the tests that take no whole pipeline (under two minutes).
	$(PYTEST) -m "not slow" $(PYTEST_ARGS)

test-smoke: setup ## Run the part of the tests that is also run on the other TFX track.
	$(PYTEST) -m smoke $(PYTEST_ARGS)

lint: setup ## Check style and types (ruff, mypy).
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## Rewrite the code in the project's style.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## Compile the lock files from setup.py; `make lock UPGRADE=1` takes the newest versions.
	@$(PYTHON) requirements/setup_env.py lock --venv $(VENV) $(if $(UPGRADE),--upgrade)

bench: setup ## Time InteractionGen against TFX's CsvExampleGen.
	$(BIN)/python -m benchmarks.interaction_gen

doctor: setup ## Say what is installed, missing or broken.
	@$(BIN)/recommender doctor

clean: ## Remove caches and build products; the environment and output stay.
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv*' -not -path './.git/*' -prune -exec rm -rf {} +
