# Everything a newcomer needs; each target does its own set-up.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
WARM   := $(VENV)/.warm
# files of tests side by side; PARALLEL= runs them one after the other
PARALLEL ?= -n 3 --dist loadfile
# without its bytecode each process would compile all sources again, a second of CPU
unexport PYTHONDONTWRITEBYTECODE
SOURCES := $(shell find src/penstock -name '*.py' 2>/dev/null)

.PHONY: help demo test test-all soak mutations bench check fmt setup clean

help:            ## show this list
	@grep -E '^[a-z-]+: .*##|^[a-z-]+:  *##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 18

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Penstock needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing Penstock and its packages into $(VENV) (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -e '.[demo,test,dev]'
	@# bytecode with all cores, which pip makes with one, and not of the packages' own tests; a file
	@# that is not of this Python is found by whoever imports it
	@$(BIN)/python -m compileall -qq -j 0 -x '/tests?/' $(VENV)/lib || true
	@touch $@

# numba stamps its cache with the sources' contents, so this is quick when nothing changed
$(WARM): $(STAMP) $(SOURCES)
	@$(BIN)/python -m penstock.data.warm
	@touch $@

setup: $(WARM)   ## make .venv, install, compile the kernels

demo: $(WARM)    ## stream a year of flights, vandalise a sink, reset it, prove it (ONCE=1 exits)
	@$(BIN)/python -m penstock.demo $(if $(ONCE),--once)

# one seed and some of the examples, so that a change is judged by what it changes; test-all draws
# all of them, new ones each time
test: $(WARM)    ## the tests that CI runs
	@EXAMPLES_PERCENT=40 $(BIN)/python -m pytest -m 'not slow' --hypothesis-seed=1 $(PARALLEL) $(ARGS)

test-all: $(WARM) ## the slow matrices too
	@$(BIN)/python -m pytest $(ARGS)

soak: $(WARM)    ## an hour of load with a kill every minute (SOAK_MINUTES=60)
	@$(BIN)/python -m tests.soak

mutations: $(WARM) ## make every known mistake once; the tests must notice
	@$(BIN)/python -m tests.mutations --write

bench: $(WARM)   ## one JSON line a figure, peer and ours in one run (ONLY=suite or suite/case)
	@$(BIN)/python -m bench $(ONLY)

check: $(STAMP)  ## lint and types
	@$(BIN)/ruff check src tests bench
	@$(BIN)/ruff format --check src tests bench
	@$(BIN)/mypy

fmt: $(STAMP)    ## format
	@$(BIN)/ruff check --fix --quiet src tests bench
	@$(BIN)/ruff format --quiet src tests bench

clean:           ## remove what the targets made
	rm -rf $(VENV) demo-data .pytest_cache .hypothesis .mypy_cache .ruff_cache
