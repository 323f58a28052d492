# make demo · make test · make bench · make lint · make package · make ext · make qgis-env · make setup · make clean
# Every target sets up what it needs (packages of the distribution, .venv) and does nothing twice.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench package ext qgis-env train-starter clean

PYTHON := .venv/bin/python
QGIS_ENV = eval "$$(tools/qgis_env.sh)"
# one thread spinning while it waits for another slows both down on small machines
export OMP_WAIT_POLICY := passive

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

setup: ## install what is missing (10 minutes on a fresh machine, nothing the second time)
	@tools/setup.sh

demo: setup ## remove the clouds of a made-up scene; DATA=folder: of your own dated GeoTIFFs; PICTURE=file.png
	@$(QGIS_ENV); $(PYTHON) -m demo $(if $(DATA),--data "$(DATA)") $(if $(PICTURE),--picture "$(PICTURE)")

test: setup ## all tests (some minutes); ARGS='-k reader' for some of them
	@echo "[test] The whole suite takes some minutes; the ten slowest tests are listed at the end."
	@$(QGIS_ENV); $(PYTHON) -m pytest $(ARGS)

lint: setup ## ruff, the house rules, bandit (seconds)
	@echo "[lint] ruff"; $(PYTHON) -m ruff check .
	@echo "[lint] house rules"; $(PYTHON) -m tools.house_rules
	@echo "[lint] bandit"; $(PYTHON) -m bandit --quiet --recursive cloud_removal_plugin

bench: setup ## speed, memory and accuracy against plain numpy and rasterio; DATA=folder of the data sets
	@echo "[bench] Ratios are measured side by side in one run; 5 to 30 minutes."
	@$(QGIS_ENV); $(PYTHON) -m benchmarks $(if $(DATA),--data "$(DATA)") $(ARGS)

package: setup ## the zip for the plugin site, from the last commit
	@$(PYTHON) -m tools.package

ext: setup ## compile the kernel of the published networks now (half a minute) instead of at first use
	@$(PYTHON) -m cloud_removal_plugin.ext

qgis-env: ## shell exports to run qgis_process or QGIS from this checkout
	@tools/setup.sh
	@tools/qgis_env.sh

train-starter: setup ## the starter network from the development scenes; DATA=folder (some ten minutes on one core)
	@$(PYTHON) -m tools.train_starter $(if $(DATA),--data "$(DATA)")

clean: ## remove what was made here, except .venv
	rm -rf build .qgis .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
