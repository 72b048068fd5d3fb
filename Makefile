# Sets up, tests and measures marlbench; `make help` tells the targets.
# Every path is relative, so that a space in the directory's name never meets make's splitting of words.

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help quickstart test test-slow test-cluster lint regress bench constraints clean force

help: ## tell the targets
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' Makefile | expand -t 20
	@echo 'PYTHON=python3.12 picks another Python, ARGS="..." goes on to pytest or the benchmarks.'

quickstart: .venv/use.stamp ## set up and compare three methods on small tasks, to the table
	@"$(BIN)/marlbench" run quickstart

test: .venv/dev.stamp ## set up and run the tests
	@"$(BIN)/python" -m pytest -m "not slow" -n 2 $(ARGS)

test-slow: .venv/dev.stamp ## the longer checks
	@"$(BIN)/python" -m pytest -m slow $(ARGS)

test-cluster: .venv/cluster.stamp ## engines and a shared MLflow, with a real Slurm, Ray and PostgreSQL; as root, up to an hour
	@tests/cluster/install.sh
	@TEST_CLUSTER=1 "$(BIN)/python" -m pytest tests/cluster $(ARGS)

lint: .venv/dev.stamp ## ruff and mypy
	@"$(BIN)/python" -m ruff check .
	@"$(BIN)/python" -m ruff format --check .
	@"$(BIN)/python" -m mypy
	@"$(BIN)/python" -m mypy tools benchmarks

regress: .venv/use.stamp ## compare fresh runs with results/reference/ci.json, on a few minutes of two cores
	@rm -rf reports/regress && mkdir -p reports
	@"$(BIN)/marlbench" regress ci --results reports/regress $(ARGS)

bench: .venv/dev.stamp ## measure speed beside BenchMARL, on one core
	@"$(BIN)/python" benchmarks/run.py $(ARGS)

constraints: .venv/dev.stamp ## write constraints.txt anew, with the newest versions but torch's
	@"$(BIN)/python" tools/freeze.py

clean: ## remove the environments and what tests and benchmarks left; results stay
	rm -rf .venv benchmarks/.venv-benchmarl benchmarks/out .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment knows the directory it was made for: a clone that was moved gets a new one.
ifneq ($(shell cat .venv/state 2>/dev/null),$(CURDIR))
.venv/use.stamp .venv/dev.stamp .venv/cluster.stamp: force
endif

.venv/%.stamp: pyproject.toml constraints.txt
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { \
	  echo 'There is no "$(PYTHON)": install Python 3.11 or newer, or name one: make PYTHON=python3.12 ...' >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo '"$(PYTHON)" is older than Python 3.11, which marlbench needs; name another: make PYTHON=python3.12 ...' >&2; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo '"$(PYTHON)" has no venv or ensurepip: install them (on Debian and Ubuntu: apt install python3-venv).' >&2; exit 1; }
	@"$(PYTHON)" tools/set_up.py $*
