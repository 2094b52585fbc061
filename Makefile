# `make help` says what there is. Needs GNU make, a POSIX shell and Python 3.10 to 3.13.

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/warpbeam-env
USABLE := import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))
export HF_HUB_OFFLINE := 1

.PHONY: help env demo flink test check clean
.DEFAULT_GOAL := help

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

env: $(STAMP) ## make .venv with everything in it (6 GB, mostly torch; some minutes, once)

$(STAMP): pyproject.toml constraints.txt
	@if ! $(PY) -c '$(USABLE)' >/dev/null 2>&1; then \
	  for python in $(PYTHON) python3.13 python3.12 python3.11 python3.10 python3; do \
	    if "$$python" -c '$(USABLE)' >/dev/null 2>&1; then found=$$python; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then echo "no Python 3.10 to 3.13 with venv found: install one, or say make PYTHON=/path/to/python" >&2; exit 2; fi; \
	  echo "making $(VENV) with $$("$$found" --version)"; \
	  "$$found" -m venv --clear $(VENV); \
	fi
	@echo "installing what pyproject.toml names, in the versions of constraints.txt (the first time 6 GB and some minutes)"
	@$(PY) -m pip install --quiet --disable-pip-version-check --editable ".[models,test,demo]" --constraint constraints.txt
	@touch $@

demo: env ## load Python's standard library into a Weaviate on this machine and search it
	@$(PY) examples/demo.py

flink: env ## the demo on a Flink cluster of this machine: two TaskManagers (needs Java 17 and Maven)
	@$(PY) examples/flink.py

test: env ## run the tests, against a real Weaviate
	@$(if $(WEAVIATE_URL),echo "Weaviate: $(WEAVIATE_URL)",echo "Weaviate server program: $$($(PY) -m jobs.embedded program)")
	@echo "running the tests"
	@$(PY) -m pytest -n 2 --dist loadfile

check: env ## ruff and mypy
	@echo "ruff check"
	@$(PY) -m ruff check .
	@echo "ruff format --check"
	@$(PY) -m ruff format --check .
	@echo "mypy"
	@$(PY) -m mypy

clean: ## stop the demo's server; remove its data, the caches and .venv
	@if [ -x $(PY) ]; then $(PY) -m jobs.embedded stop; $(PY) -m jobs.flink stop; fi
	rm -rf .warpbeam .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info $(VENV)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
