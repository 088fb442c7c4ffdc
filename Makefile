# Classifold. `make` alone lists what can be made.

PYTHON ?= python3
JOBS ?= 1
VENV := .venv
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Names of files are UTF-8, under whatever locale.
export PYTHONUTF8 := 1

# Columns of `make experiments`: the stack's scores, those of models on validation images, and every
# parameter that changed.
SHOWN := Experiment$$|rev$$|typ$$|Created$$|State$$|metrics/stack\.json:validation_accuracy$$|gain$$|stack\.accuracy$$|(metrics/models\.json:|(?!stack\.))[^.:/]+\.validation_(accuracy|micro_f1)$$|(dataset|filter|split|augment|train|models|stack|evaluate|pca|tsne|explain)\.(?!accuracy|log_loss|macro|calib|top|n_images)

.DEFAULT_GOAL := help
.PHONY: help setup check recipe repro experiments test test-quick chaos lint format bench load lock audit clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Install exact versions into .venv (once; again when the lock changes)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Classifold needs Python 3.11 or newer, and $(PYTHON) is" \
	    "$$($(PYTHON) --version); try: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Setting up $(VENV): about 5 GB with torch, a few minutes the first time."
	$(PYTHON) -m venv $(VENV)
	python -m pip install --disable-pip-version-check -r requirements.lock
	python -m pip install --disable-pip-version-check --no-build-isolation --no-deps -e .
	classifold plots-page .dvc/plots_page.html
	@touch $@

check: $(READY) ## Check params.yaml before anything runs
	classifold check

recipe: $(READY) ## List recipes; NAME=fruit_64 writes one to params.yaml (SHORT=1: its short form)
	classifold recipe $(NAME) $(if $(SHORT),--short) $(if $(FORCE),--force)

repro: check ## Run the pipeline, whatever is not up to date; JOBS=2 trains two models at once
ifneq ($(JOBS),1)
	dvc repro augment
	dvc stage list --name-only train folds | xargs -P $(JOBS) -I{} sh -c 'dvc --wait-for-lock repro -s "$$0" || exit 1' {}
endif
	dvc repro
	@echo "The report: $(CURDIR)/reports/index.html"

experiments: $(READY) ## Show experiments in a table that fits a screen
	dvc exp show --only-changed --drop '^(?!$(SHOWN))'

test: $(READY) ## Run all tests, the slow ones too, a file a core
	python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-quick: $(READY) ## Run the quick tests, without DVC, a browser or a cluster; three minutes on two cores
	python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder -m "not slow and not real"

chaos: $(READY) ## Kill the pipeline at 50 random moments, and see it end as if nothing had happened
	PYTHONPATH=tests python -m chaos $(if $(MOMENTS),--moments $(MOMENTS)) $(if $(SEED),--seed $(SEED))

lint: $(READY) ## Check style, types and formatting
	ruff check .
	ruff format --check .
	mypy

format: $(READY) ## Format the code
	ruff check --fix --quiet .
	ruff format .

bench: $(READY) ## Compare our speed with our peers', in turn on the same images
	python benchmarks/run.py

load: $(READY) ## Run all stages on up to 200,000 drawn images; an hour, and 5 GB of disk
	python benchmarks/load.py --images 50000 200000 --classes 10
	python benchmarks/load.py --images 25000 100000 --classes 500 2000

lock: ## Renew requirements.lock from pyproject.toml (needs uv)
	{ echo "# Exact versions that set-up installs; made by 'make lock' from pyproject.toml."; \
	  uv pip compile pyproject.toml --extra dev --extra onnx --extra postgres --extra ray --extra s3 --universal --python-version 3.11 --upgrade \
	    --no-emit-index-url --no-annotate --no-header --quiet; } > requirements.lock.partial
	mv requirements.lock.partial requirements.lock

audit: ## Look for known faults of the locked packages (needs uv, and the network)
	uv tool run pip-audit --requirement requirements.lock --no-deps --disable-pip --strict

clean: ## Remove what the pipeline made (DVC's cache keeps it) and tools' caches
	rm -rf data/ingested data/filtered data/split data/augmented data/compared data/evaluated \
	  data/pca data/tsne data/explained data/raw/digits models ensemble metrics/train timings \
	  studies/gan/made reports dvc_plots .mypy_cache .pytest_cache .ruff_cache .hypothesis
