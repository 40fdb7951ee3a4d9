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
# Three workers for two cores, for a test often waits for a process or a clock. A file's tests stay together, for they
# share what is dear to make; which files come first is said in tests/conftest.py.
WORKERS := --numprocesses=3 --dist=loadfile --no-loadscope-reorder

# Writes a lock file; pyproject.toml has more settings. The images have what the newer track has.
COMPILE := $(PYTHON) requirements/setup_env.py --venv $(VENV) pip compile --quiet --no-python-downloads \
	$(if $(UPGRADE),--upgrade) setup.py
AS_IMAGE := --constraint=requirements/tfx-1.21.txt --python-version=3.12 --python-platform=x86_64-manylinux_2_40

.DEFAULT_GOAL := help
.PHONY: help setup run test test-fast test-smoke test-engines lint format lock bench doctor clean

help: ## List the commands.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## Make or refresh the environment in .venv (a moment when nothing changed).
	@$(PYTHON) requirements/setup_env.py --venv $(VENV)

run: setup ## Set up, fetch MovieLens-100K, run the whole pipeline, serve the model and ask it.
	@$(BIN)/recommender demo --config configs/movielens_100k.yaml

test: setup ## Set up and run all tests.
	$(PYTEST) $(WORKERS) $(PYTEST_ARGS)

test-fast: setup ## Run the tests that take a moment each (about a minute).
	$(PYTEST) $(WORKERS) -m "not slow" $(PYTEST_ARGS)

test-smoke: setup ## Run the part of the tests that is also run on the other TFX track.
	$(PYTEST) $(WORKERS) -m smoke $(PYTEST_ARGS)

test-engines: setup ## Run the Beam stages on Flink and Spark and up to Dataflow, and S3Proxy's tests (long; needs Java 17 and Maven).
	ENGINES=1 $(PYTEST) tests/engines $(PYTEST_ARGS)

lint: setup ## Check style, types and what imports what (ruff, mypy, import-linter).
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## Rewrite the code in the project's style.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## Compile the lock files from setup.py; `make lock UPGRADE=1` takes the newest versions.
	$(COMPILE) --constraint=requirements/tfx-1.21.in --universal --python-version=3.11 \
		--extra=pipeline --extra=ials --extra=text --extra=dev --output-file=requirements/tfx-1.21.txt
	$(COMPILE) --constraint=requirements/tfx-1.16.in --python-version=3.10 --python-platform=x86_64-manylinux_2_28 \
		--extra=pipeline --extra=ials --extra=text --extra=dev --extra=scann --output-file=requirements/tfx-1.16.txt
	$(COMPILE) $(AS_IMAGE) --extra=pipeline --extra=ials --extra=notify --output-file=requirements/image.txt
	$(COMPILE) $(AS_IMAGE) --extra=client --output-file=requirements/client.txt

bench: setup ## Time InteractionGen against TFX's CsvExampleGen.
	$(BIN)/python -m benchmarks.interaction_gen

doctor: setup ## Say what is installed, missing or broken.
	@$(BIN)/recommender doctor

clean: ## Remove caches and build products; the environment and output stay.
	rm -rf build dist *.egg-info client/build client/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv*' -not -path './.git/*' -prune -exec rm -rf {} +
