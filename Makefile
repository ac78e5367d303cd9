# Commands for users and schedulers. Requirements: make and Python 3.11, 3.12 or 3.13. Packages go into .venv.
# LIFE_STAGE_SOURCE, LIFE_STAGE_WAREHOUSE and LIFE_STAGE_PUBLISHED are passed on unchanged;
# relative paths start at this folder, where every command runs.

PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input
SQL = models macros tests bench/cases

export DO_NOT_TRACK = 1
export DBT_SEND_ANONYMOUS_USAGE_STATS = false

.PHONY: help demo build serve docs sbom test test-slow test-spark bench bench-checkout experiment ablation reliability errors pytest lint format lock clean usable-python

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/runtime ## generate the demo data and run the monthly job on it
	@$(BIN)/life-stage demo

build: $(VENV)/runtime ## run the monthly job on LIFE_STAGE_SOURCE (default: the demo data), if there is anything new
	@$(BIN)/life-stage run

docs: $(VENV)/runtime ## write published_docs.html: all models, columns and dependencies
	$(BIN)/dbt docs generate --static --project-dir . --profiles-dir .
	cp target/static_index.html published_docs.html

serve: $(VENV)/serve ## answer POST /recommendations on this machine's port 8000, from the published set
	@exec $(BIN)/life-stage serve

sbom: usable-python ## write sbom.json, the software bill of materials in CycloneDX format
	test -x .venv-sbom/bin/cyclonedx-py || "$(PYTHON)" -m venv .venv-sbom
	.venv-sbom/bin/python -m pip install --quiet --disable-pip-version-check 'cyclonedx-bom>=7,<8'
	.venv-sbom/bin/cyclonedx-py requirements requirements.lock --output-reproducible --output-file sbom.json

test: lint pytest ## run lint and tests, as in CI

test-slow: $(VENV)/dev ## run slow tests, dashboard, metrics, notebook; then all tests on other Pythons and DuckDB 1.5
	$(BIN)/pytest -n 2 --dist worksteal -m slow
	$(MAKE) .venv-metrics/dev VENV=.venv-metrics
	.venv-metrics/bin/python -m pip install --quiet -e '.[metrics,notebook,deep,tuning]'
	.venv-metrics/bin/pytest python/tests/test_metrics.py python/tests/test_documents.py python/tests/test_checkout_models.py
	.venv-metrics/bin/pytest -m slow python/tests/test_checkout.py -k network
	.venv-metrics/bin/python -m pip install --quiet 'schemathesis>=4,<5'
	.venv-metrics/bin/pytest -m slow python/tests/test_service.py
	@for python in python3.11 python3.12 python3.13; do \
	  case "$$($(BIN)/python -V)" in "Python $${python#python}".*) continue ;; esac; \
	  if $$python -c '' 2>/dev/null; then $(MAKE) pytest PYTHON=$$python VENV=.venv-$${python#python} || exit 1; \
	  else echo "$$python was not found: not tested"; fi; \
	done
	$(MAKE) .venv-duckdb-1.5/dev VENV=.venv-duckdb-1.5
	.venv-duckdb-1.5/bin/python -m pip install --quiet --disable-pip-version-check 'duckdb==1.5.*'
	.venv-duckdb-1.5/bin/pytest -n 2 --dist worksteal

test-spark: $(VENV)/dev ## compare DuckDB with Spark, also on two workers; needs Java 17 (30 minutes)
	$(MAKE) .venv-spark/dev VENV=.venv-spark
	.venv-spark/bin/python -m pip install --quiet --disable-pip-version-check -e '.[spark]'
	.venv-spark/bin/pytest -m spark

pytest: $(VENV)/dev ## run the tests without lint
	$(BIN)/pytest -n 2 --dist worksteal

BENCHES = $(if $(QUICK),,scoring_cost) whole_runs peers pages

bench: $(VENV)/runtime ## measure steps, whole runs, other engines; needs Java (two hours; QUICK=1: 4 minutes)
	$(if $(QUICK),,$(PIP_INSTALL) --no-build-isolation -e '.[peers]')
	@for script in $(BENCHES); do \
	  echo "== $$script"; $(BIN)/python bench/$$script.py || exit 1; \
	done

bench-checkout: $(VENV)/runtime ## evaluate the checkout and other libraries on real baskets (an hour)
	$(PIP_INSTALL) --no-build-isolation -e '.[checkout,deep]'
	$(BIN)/python bench/checkout.py

experiment: $(VENV)/runtime ## compare the methods on 3 x 14,000 simulated users; writes docs/results.md (25 minutes)
	$(BIN)/python bench/households.py
	$(BIN)/python bench/learning_curve.py
	$(BIN)/python bench/experiment.py

ablation: $(VENV)/runtime ## run the ablation study; writes its table into docs/results.md (15 minutes)
	$(BIN)/python bench/ablation.py

reliability: $(VENV)/dev ## run all fault tests; writes docs/reliability.md (an hour, and three for 40 random years of operation)
	LIFE_STAGE_YEARS=40 LIFE_STAGE_STEPS=50 $(BIN)/pytest -n 2 --dist worksteal -m fault --reliability

errors: $(VENV)/dev ## write docs/errors.md from the error codes in the code
	$(BIN)/python python/tests/errors_page.py

lint: $(VENV)/dev ## check Python, SQL, the Dockerfile, dbt's conventions and the prose, change nothing
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/sqlfmt --check $(SQL)
	$(BIN)/hadolint Dockerfile
	$(BIN)/dbt --quiet parse --project-dir . --profiles-dir . --target-path target/lint
	$(BIN)/dbt-bouncer run
	$(BIN)/python python/tests/prose.py

format: $(VENV)/dev ## format Python and SQL
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/sqlfmt $(SQL)

# uv has an environment of its own, outside the locked one. One resolution gives all Python versions the same packages.
UV_COMPILE = .venv-lock/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 \
  --fork-strategy fewest --no-strip-extras --generate-hashes --custom-compile-command 'make lock'

lock: usable-python ## pin the dependencies; valid pins stay
	test -x .venv-lock/bin/uv || "$(PYTHON)" -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.13,<0.14'
	$(UV_COMPILE) pyproject.toml --group build -o requirements.lock
	$(UV_COMPILE) pyproject.toml --group build --extra serve -c requirements.lock -o requirements-serve.lock
	$(UV_COMPILE) --group dev -c requirements-serve.lock -o requirements-dev.lock
	$(UV_COMPILE) dashboards/requirements.in -o dashboards/requirements.lock

clean: ## remove environments, demo data and caches, but no warehouse or published marts
	rm -rf .venv .venv-* data/demo bench/work target logs dbt_packages .user.yml
	rm -rf .pytest_cache .ruff_cache .hypothesis python/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# runtime, serve and dev are empty files; their times are those of the installation.
$(VENV)/runtime: requirements.lock pyproject.toml
	@$(MAKE) --no-print-directory usable-python
	@echo "creating the environment $(VENV)"
	@rm -rf $(VENV)
	@"$(PYTHON)" -m venv $(VENV)
	@$(PIP_INSTALL) --require-hashes -r requirements.lock
	@$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/serve: requirements-serve.lock $(VENV)/runtime
	@$(PIP_INSTALL) --require-hashes -r requirements-serve.lock
	@touch $@

$(VENV)/dev: requirements-dev.lock $(VENV)/serve
	@$(PIP_INSTALL) --require-hashes -r requirements-dev.lock
	@touch $@

usable-python:
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "$(PYTHON) was not found: install Python 3.11, 3.12 or 3.13, or set its path: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "$(PYTHON) is $$("$(PYTHON)" -V 2>&1): set a Python 3.11, 3.12 or 3.13: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot create environments: install its venv package (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
