# Everything an analyst needs. On a fresh machine Python >= 3.11 and make are enough: every target sets up what it
# needs in .venv (once per change of the lock), without root, and nothing needs the internet afterwards.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
STUDY ?= configs/studies/enrich_synthetic.toml
CRON ?= 0 6 1 * *
RUN_ARGS ?=
BENCH_ARGS ?=
TRUTH_ARGS ?=

export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.DEFAULT_GOAL := help
.PHONY: help setup analysis test check fix truth bench bench-matching bench-forest bench-ingest bench-features bench-nation bench-multiverse bench-truth bench-propensity bench-effects bench-data schedule docs lock clean

help: ## list these commands
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | \
	  while IFS='|' read -r name text; do printf '  make %-14s %s\n' "$$name" "$$text"; done

setup: $(READY) ## make .venv from the hashed lock (the other commands do it too)

# The lock is complete, so it is installed as it stands with its hashes checked; then the project itself, which downloads nothing more.
# The first Python that is new enough and can make an environment is taken; PYTHON=... chooses another.
$(READY): requirements.lock pyproject.toml
	@python=; for candidate in $(PYTHON) python3.13 python3.12 python3.11 python3 python; do \
	  if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
	  then python=$$candidate; break; fi; done; \
	if [ -z "$$python" ]; then \
	  echo "Python 3.11 or newer with its venv module was not found (looked for: $(PYTHON) python3.13 python3.12" >&2; \
	  echo "python3.11 python3 python). Install it, or name one: make setup PYTHON=/path/to/python3." >&2; \
	  echo "On Debian and Ubuntu the venv module is the package python3-venv." >&2; exit 1; fi; \
	echo "Setting up $(VENV) with $$("$$python" -V) (a few minutes, once)"; \
	rm -rf $(VENV) && "$$python" -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	@touch $(READY)

analysis: $(READY) ## run the study: STUDY=configs/studies/enrich_synthetic.toml
	$(BIN)/virtual-controls run $(STUDY) $(RUN_ARGS)

test: $(READY) ## run the tests (under ten minutes)
	$(BIN)/python -m pytest -n 2

check: $(READY) ## lint, format, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(READY) ## repair what ruff can repair
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

truth: $(READY) ## run the slow simulations; every method against known truth, into bench/RESULTS.md (an hour or two)
	$(BIN)/python -m pytest -m slow
	$(BIN)/python bench/methods_truth.py $(TRUTH_ARGS)

bench: bench-matching bench-ingest bench-features bench-nation bench-multiverse bench-truth bench-propensity bench-effects ## speed, size and known effects, into bench/RESULTS.md (hours)

bench-ingest: $(READY) ## 20 million contacts into buckets, beside Polars, DuckDB and Dask
	$(BIN)/python bench/ingest.py $(BENCH_ARGS)

bench-features: $(READY) ## look-back features from a lake, beside Polars, DuckDB and Dask
	$(BIN)/python bench/features.py $(BENCH_ARGS)

bench-nation: $(READY) ## 50,000 to 1,000,000 synthetic people, from nothing to a cohort
	$(BIN)/python bench/nation.py $(BENCH_ARGS)

bench-multiverse: $(READY) ## a grid of designs and effects on 50,000 synthetic people
	$(BIN)/python bench/multiverse.py $(BENCH_ARGS)

bench-propensity: $(READY) ## converged propensity scores, beside scikit-learn and glum where it is installed
	$(BIN)/python bench/propensity.py $(BENCH_ARGS)

bench-effects: $(READY) ## standard errors by bootstrap and AIPW on large samples, beside refitting
	$(BIN)/python bench/effects.py $(BENCH_ARGS)

bench-matching: $(READY) ## matching at the sizes of a nation, beside R's MatchIt
	$(BIN)/python bench/matching.py $(BENCH_ARGS)

bench-truth: $(READY) ## coverage of known effects over 20 synthetic worlds
	$(BIN)/python bench/synthetic_truth.py $(BENCH_ARGS)

bench-data: $(READY) ## every method on LaLonde, NHEFS, IHDP and ACIC 2016: DATA=folder that holds them
	$(BIN)/python bench/methods_data.py $(DATA) $(BENCH_ARGS)

bench-forest: $(READY) ## causal forest beside EconML's on ACIC 2016: DATA=folder that holds it
	$(BIN)/python bench/forest.py $(DATA) $(BENCH_ARGS)

schedule: $(READY) ## serve STUDY on a schedule: CRON="0 6 1 * *"
	$(BIN)/virtual-controls serve $(STUDY) --cron "$(CRON)"

docs: $(READY) ## regenerate docs/protocol.md and docs/covariates.md from the code
	$(BIN)/python docs/generate.py

lock: ## renew requirements.lock (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --no-annotate --upgrade -o requirements.lock

clean: ## remove the environment and caches; runs/ is kept
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
