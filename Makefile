# Classifold. `make` lists all targets.

PYTHON ?= python3
JOBS ?= 1
VENV := .venv
READY := $(VENV)/.ready
PEERS := .cache/peers
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# UTF-8 for file names, whatever the locale.
export PYTHONUTF8 := 1

.DEFAULT_GOAL := help
.PHONY: help setup check recipe repro experiments test test-quick test-lowest test-newest mutants docs chaos lint format bench bench-peers load lock lock-peers audit clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Install exact versions into .venv (once; again when the lock changes)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Classifold needs Python 3.11 or newer, and $(PYTHON) is" \
	    "$$($(PYTHON) --version); try: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Setting up $(VENV): 7.5 GB with torch, and 3.7 GB of downloads, a few minutes the first time."
	$(PYTHON) -m venv $(VENV)
	python -m pip install --disable-pip-version-check -r requirements.lock
	python -m pip install --disable-pip-version-check --no-build-isolation --no-deps -e .
	classifold plots-page .dvc/plots_page.html
	@touch $@

check: $(READY) ## Validate params.yaml before any stage runs
	classifold check

recipe: $(READY) ## List recipes; NAME=fruit_64 writes one to params.yaml (SHORT=1: its short form)
	classifold recipe $(NAME) $(if $(SHORT),--short) $(if $(FORCE),--force)

repro: check ## Run all stages that are not up to date; JOBS=2 trains two models at once
ifneq ($(JOBS),1)
	dvc repro augment
	dvc stage list --name-only train folds | xargs -P $(JOBS) -I{} sh -c 'dvc --wait-for-lock repro -s "$$0" || exit 1' {}
endif
	dvc repro
	@echo "The report: $(CURDIR)/reports/index.html"

experiments: $(READY) ## List experiments of all commits: validation scores and changed parameters
	classifold experiments

test: $(READY) ## Run all tests, including the slow ones, in parallel; 8.5 minutes on two cores
	python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-quick: $(READY) ## Run the quick tests, without DVC, a browser or a cluster; 2 minutes on two cores
	python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder -m "not slow and not real"

test-lowest: RESOLUTION := lowest-direct
test-lowest: ## Run the quick tests with the lowest versions that pyproject.toml allows (needs uv, 6 GB)
	$(test-versions)

test-newest: RESOLUTION := highest
test-newest: ## Run the quick tests with the newest versions that pyproject.toml allows (needs uv, 6 GB)
	$(test-versions)

# An old package may warn of a newer one that it uses, and PyTorch 2.8 leaves a file open.
define test-versions
uv venv --quiet --clear .cache/$(RESOLUTION)
uv pip install --quiet --python .cache/$(RESOLUTION) --resolution $(RESOLUTION) --editable '.[dev,onnx,weights]'
PATH="$(CURDIR)/.cache/$(RESOLUTION)/bin:$$PATH" python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile -m "not slow and not real" -W ignore::DeprecationWarning -W ignore::ResourceWarning; status=$$?; rm -rf .cache/$(RESOLUTION); exit $$status
endef

mutants: $(READY) ## Put faults into copies of the code, and see whether the quick tests notice; FILES=splitting for some
	PYTHONPATH=tests python -m mutants $(FILES)

docs: $(READY) ## Write the documents as a site that works offline: docs/_build/html
	sphinx-build --quiet --fail-on-warning --keep-going -c docs . docs/_build/html
	@echo "The documents: $(CURDIR)/docs/_build/html/index.html"

chaos: $(READY) ## Kill the pipeline at 50 random moments, and compare its outputs with an uninterrupted run
	PYTHONPATH=tests python -m chaos $(if $(MOMENTS),--moments $(MOMENTS)) $(if $(SEED),--seed $(SEED))

lint: $(READY) ## Check style, types and formatting
	ruff check .
	ruff format --check .
	mypy

format: $(READY) ## Format the code
	ruff check --fix --quiet .
	ruff format .

bench: $(READY) ## Compare the speed with that of other libraries; IMAGES=fruit.zip; DOCS=docs/SPEED.md writes the table
	python benchmarks/run.py $(if $(IMAGES),--images $(IMAGES)) $(if $(DOCS),--docs $(DOCS))

bench-peers: $(READY) $(PEERS)/.ready ## Compare with other libraries; IMAGES="fruit.zip photos.zip" BUDGETS="120 300 1200" (needs uv, 8 GB)
	PYTHONPATH=benchmarks python -m peers --images $(IMAGES) $(if $(BUDGETS),--budgets $(BUDGETS)) --python $(PEERS)/bin/python

# The other libraries, in an environment of their own. None of them enters ours.
$(PEERS)/.ready: benchmarks/peers/requirements.lock
	uv venv --quiet --clear --python 3.11 $(PEERS)
	uv pip install --quiet --compile-bytecode --python $(PEERS)/bin/python -r benchmarks/peers/requirements.lock
	touch $@

load: $(READY) ## Load the server for a minute, then all stages with 200,000 images: an hour, 5 GB of disk space
	python benchmarks/serving.py
	python benchmarks/load.py --images 50000 200000 --classes 10
	python benchmarks/load.py --images 25000 100000 --classes 500 2000
	python benchmarks/load.py --images 10000 40000 --features --mapped 2500

lock: ## Update requirements.lock from pyproject.toml (needs uv)
	{ echo "# Exact versions that set-up installs; made by 'make lock' from pyproject.toml."; \
	  uv pip compile pyproject.toml --extra dev --extra docs --extra onnx --extra postgres --extra ray --extra s3 --extra weights --universal --python-version 3.11 --upgrade \
	    --no-emit-index-url --no-annotate --no-header --quiet; } > requirements.lock.partial
	mv requirements.lock.partial requirements.lock

lock-peers: ## Update the versions of the other libraries of bench-peers (needs uv)
	{ echo "# Exact versions for the bench of peers; made by 'make lock-peers' from requirements.in."; \
	  uv pip compile benchmarks/peers/requirements.in --python-version 3.11 --upgrade \
	    --no-emit-index-url --no-annotate --no-header --quiet; } > requirements.lock.partial
	mv requirements.lock.partial benchmarks/peers/requirements.lock

audit: ## Check the locked packages for known vulnerabilities (needs uv and the network)
	uv tool run pip-audit --requirement requirements.lock --no-deps --disable-pip --strict

clean: ## Remove outputs of the pipeline (they stay in DVC's cache), checkpoints and caches of tools
	rm -rf data/checked.txt data/ingested data/filtered data/split data/augmented data/folds \
	  data/compared data/explained_model data/evaluated data/pca data/tsne data/novelty \
	  data/robustness data/explained \
	  models ensemble metrics/train metrics/folds metrics/search timings reports dvc_plots \
	  studies/gan/made studies/leakage/made studies/learning_curve/made .cache/checkpoints \
	  .cache/features .cache/folds .cache/gan .cache/leakage .cache/refit docs/_build \
	  .mypy_cache .pytest_cache .ruff_cache .hypothesis
