# Every target that needs an environment makes it first; `make setup` alone says what it would use.

PYTHON ?= python3
ARGS ?=

# The environment already holds what set-up found on PYTHONPATH; left in force, it would hide the pinned packages.
RUN = PYTHONPATH= .venv/bin

.DEFAULT_GOAL := help
.PHONY: soak help setup bench smoke test test-mpich faults speed overhead startup validate judge check lint types mutants clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

setup: ## make .venv with what this machine lacks (done once; PYTHON=... chooses the interpreter)
	@$(PYTHON) launch/bootstrap.py

bench: setup ## measure the interconnect at hand, extrapolate, report (ARGS="--budget 300")
	@$(RUN)/collbench bench $(ARGS)

smoke: setup ## the same in a minute, to see that everything works
	@$(RUN)/collbench bench --profile smoke $(ARGS)

test: setup ## run the tests (ARGS="-k name")
	@$(RUN)/python -m pytest $(ARGS)

test-mpich: setup ## every test that needs MPI once more, under MPICH
	@$(RUN)/python tests/test_launch_mpich.py $(ARGS)

faults: setup ## every kind of fault at every phase over every launcher (10 minutes; ARGS="-k mpirun")
	@$(RUN)/python -m pytest --every-fault tests/test_collectives_watchdog.py $(ARGS)

speed: setup ## how long reading and reporting a journal of 100,000 records takes
	@$(RUN)/python benchmarks/report_speed.py $(ARGS)

overhead: setup ## what the harness costs, beside the smallest loop in C and in Python (4 minutes)
	@$(RUN)/python benchmarks/overhead.py $(ARGS)

soak: setup ## the same case again and again: memory, descriptors and threads must stay flat (ARGS="MINUTES RANKS")
	@$(RUN)/python benchmarks/soak.py $(or $(ARGS),10 2)

startup: setup ## time and memory that starting many ranks takes here, up to 384 (10 minutes; ARGS="--ranks 8,72")
	@$(RUN)/python benchmarks/startup.py $(ARGS)

validate: setup ## back-test the extrapolation on the shipped measurements (DATA=... for yours)
	@$(RUN)/collbench backtest $(or $(DATA),$(wildcard analysis/data/validation/*.csv)) $(ARGS)
	@$(if $(DATA),,echo && $(RUN)/python -m collbench.analysis.projection.leave_one_out)

judge: setup ## extrapolate what a simulator says of 8 and 16 ranks to 72 and 384, and compare (ARGS=--simulate: anew)
	@$(RUN)/python benchmarks/judge.py $(ARGS)

check: lint types ## what CI runs before the tests: ruff and mypy

lint: setup ## check the style of the sources
	@$(RUN)/ruff check . $(ARGS)

types: setup ## check the types (ARGS="--list analysis/models" prints every error there)
	@$(RUN)/python tools/check_types.py $(ARGS)

mutants: setup ## plant bugs one at a time and see whether a test notices (30 minutes; ARGS="-k projection")
	@$(RUN)/python tools/mutants.py $(ARGS)

clean: ## remove what building and testing left; results stay
	@rm -rf build dist .pytest_cache .hypothesis .ruff_cache .mypy_cache
	@find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove the environment too
	@rm -rf .venv collbench.egg-info
