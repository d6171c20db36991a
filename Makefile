# Targets that need an environment create it first; `make setup` alone creates it and prints what it found.

PYTHON ?= python3
ARGS ?=

# The environment already includes what set-up found on PYTHONPATH; keeping the variable would hide pinned packages.
RUN = PYTHONPATH= .venv/bin

# The measurements that ship at several rank counts, which the extrapolation is tested on and learns from.
MEASURED = $(wildcard analysis/data/validation/*.csv analysis/data/workload/*.csv)

.DEFAULT_GOAL := help
.PHONY: soak garble help setup bench smoke first-day test test-all test-mpich faults campaign speed overhead startup validate learn claims contributed judge planners docs check lint types mutants clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

setup: ## create .venv with everything this machine lacks (once; PYTHON=... selects the interpreter)
	@$(PYTHON) launch/bootstrap.py

bench: setup ## measure the interconnect at hand, extrapolate and report (ARGS="--budget 300")
	@$(RUN)/collbench bench $(ARGS)

smoke: setup ## every operation and element type once, to check that everything works (a minute)
	@$(RUN)/collbench bench --profile smoke $(ARGS)

first-day: setup ## prove the accelerator path on a machine with one device (DRY=1: on its CPU; ARGS="--limit 300")
	@$(RUN)/python benchmarks/first_day.py $(if $(DRY),--cpu) $(ARGS)

# Tests of real ranks mostly wait; those of a file stay in one process, because they share a cluster or a device.
PYTEST = $(RUN)/python -m pytest -n 2 --dist loadfile

test: setup ## run the tests, two files at a time (ARGS="-k name")
	@$(PYTEST) $(ARGS)

test-all: setup ## run the slow tests too (ARGS="-m slow": only those)
	@$(PYTEST) --all $(ARGS)

test-mpich: setup ## repeat every test that needs MPI under MPICH
	@$(RUN)/python tests/test_launch_mpich.py $(ARGS)

faults: setup ## inject every kind of fault at every phase over every launcher (15 minutes; ARGS="-k mpirun")
	@$(RUN)/python -m pytest --every-fault tests/test_collectives_watchdog.py tests/test_launch_supervise.py $(ARGS)

campaign: setup ## inject 150 faults at random moments and report what became of the jobs (an hour; ARGS="--count 20 --seed 2")
	@$(RUN)/python benchmarks/fault_campaign.py $(ARGS)

speed: setup ## time reading and reporting a journal of 100,000 records
	@$(RUN)/python benchmarks/report_speed.py $(ARGS)

overhead: setup ## compare with OSU, if on the PATH, and bare loops in C and Python (20 minutes; ARGS="--only gloo")
	@$(RUN)/python benchmarks/overhead.py $(ARGS)

garble: setup ## import logs with garbled cells, in disguise and mutated (20 minutes; ARGS="cells --logs FOLDER")
	@$(RUN)/python benchmarks/log_campaigns.py $(ARGS)

soak: setup ## check that memory, descriptors and threads stay constant in a long run (ARGS="MINUTES RANKS")
	@$(RUN)/python benchmarks/soak.py $(or $(ARGS),10 2)

startup: setup ## measure start-up time and memory of up to 384 ranks (10 minutes; ARGS="--ranks 8,72")
	@$(RUN)/python benchmarks/startup.py $(ARGS)

validate: setup ## back-test the extrapolation on the shipped measurements (DATA=... for your own)
	@$(RUN)/collbench backtest $(or $(DATA),$(MEASURED)) $(ARGS)
	@$(if $(DATA),,echo && $(RUN)/python -m collbench.analysis.projection.leave_one_out)

learn: setup ## learn from the shipped measurements again; the files that ship result (8 minutes; OUT=folder)
	@$(RUN)/python -m collbench.analysis.backtest.learn $(MEASURED) \
		--others analysis/data/experience -o $(or $(OUT),analysis/data/experience)

claims: setup ## examine public claims again with the shipped models and data: docs/claims.md
	@$(RUN)/collbench claims --markdown docs/claims.md > /dev/null

contributed: setup ## check the journals in contributed/ and score frozen predictions with them: docs/contributed.md
	@$(RUN)/collbench contributed contributed --markdown docs/contributed.md

judge: setup ## test the extrapolation to 72 and 384 ranks against a simulator (ARGS=--simulate: rerun it)
	@$(RUN)/python benchmarks/judge.py $(ARGS)

planners: setup ## error of aiconfigurator with and without our forecasts (ARGS="--python PYTHON", which has it)
	@$(RUN)/python benchmarks/planner_tables.py $(ARGS)

docs: setup ## the pages of docs/ as a site: site/index.html
	@$(RUN)/python -m pip install --quiet --constraint constraints.txt mkdocs || \
		{ echo "WARNING: mkdocs could not be installed: the site is not built" >&2; exit 0; }; \
		$(RUN)/python -m mkdocs --quiet build --strict

check: lint types ## ruff and mypy, as CI runs them before the tests

lint: setup ## check the style of the sources
	@$(RUN)/ruff check . $(ARGS)

types: setup ## check the types (ARGS="--list analysis/models" prints every error there)
	@$(RUN)/python tools/check_types.py $(ARGS)

mutants: setup ## plant bugs one at a time and list those that no test notices (10 minutes; ARGS="-k projection")
	@$(RUN)/python tools/mutants.py $(ARGS)

clean: ## remove build and test files; keep results
	@rm -rf build dist site .pytest_cache .hypothesis .ruff_cache .mypy_cache
	@find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove the environment too
	@rm -rf .venv collbench.egg-info
