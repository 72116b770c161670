# Easel: `make help` lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CLUSTER := PYTHONPATH=tests/cluster $(BIN)/python -m easel_cluster
# Two test processes with two torch threads each would fight over two cores.
export OMP_NUM_THREADS ?= 1
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help setup demo test check fmt lint types imports unit crds golden pictures requirements e2e cluster-up cluster-down \
        cluster-status images demo-cluster bench bench-run bench-engine bench-cluster bench-scaling bench-control-plane bench-routing clean

help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*?## ' $(MAKEFILE_LIST) | sort | awk 'BEGIN {FS = ":.*?## "} {printf "  \033[36m%-16s\033[0m %s\n", $$1, $$2}'

setup: $(STAMP) ## Make the virtual environment with everything in it (done by the others when needed)

$(STAMP): requirements/dev.txt pyproject.toml build-aux/setup.sh
	@PYTHON=$(PYTHON) VENV=$(VENV) build-aux/setup.sh
	@touch $@

demo: $(STAMP) ## Run the main job on this machine: real Triton, the built-in model, pictures in ./easel-output
	@$(BIN)/easel run examples/mugs.yaml --out easel-output/mugs

test: $(STAMP) ## Run all tests but those on a real node (builds a Kubernetes API server the first time)
	@build-aux/test.sh

check: fmt lint types imports unit ## Format, lint, type-check, check import contracts, run the unit tests: under a minute

fmt: $(STAMP)
	@$(BIN)/ruff format --check .

lint: $(STAMP)
	@$(BIN)/ruff check .

types: $(STAMP)
	@$(BIN)/mypy

imports: $(STAMP)
	@$(BIN)/lint-imports --no-cache >build/lint-imports.log 2>&1 || { cat build/lint-imports.log; exit 1; }
	@echo "Import contracts kept."

unit: $(STAMP)
	@$(BIN)/pytest -q tests/unit
	@$(BIN)/python -m easel_api.crdgen --check

crds: $(STAMP) ## Write the CRDs from the pydantic models
	@$(BIN)/python -m easel_api.crdgen

golden: $(STAMP) ## Rewrite the golden files; read the diff before committing it
	@EASEL_GOLDEN=write $(BIN)/pytest -q tests/unit tests/chart -k golden
	@git diff --stat -- tests/golden docs/providers.md docs/faults.md

pictures: $(STAMP) ## Draw the pictures of docs/tasks.md anew, by the examples through the real Triton
	@mkdir -p docs/images/tasks
	@EASEL_SHEETS=docs/images/tasks $(BIN)/pytest -q tests/inference/test_examples.py

requirements: $(STAMP) ## Resolve the hashed requirement files anew
	@for extra in operator: engine:"--extra engine" dev:"--extra local --extra dev"; do \
	  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	    $${extra#*:} pyproject.toml -o requirements/$${extra%%:*}.txt; done
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  requirements/checkov.in -o requirements/checkov.txt

# The first test that needs images waits until they are built, which takes ten minutes with nothing cached.
e2e: $(STAMP) ## Run the end-to-end tests on a real node that this command brings up and takes down (root)
	@$(BIN)/pytest -m cluster --timeout 1800 tests/e2e tests/cluster; code=$$?; $(CLUSTER) down; exit $$code

cluster-up: $(STAMP) ## Start a real Kubernetes node with an S3 server on this machine (root, Go)
	@$(CLUSTER) up

cluster-down: $(STAMP) ## Stop it and leave nothing behind
	@$(CLUSTER) down

cluster-status: $(STAMP) ## Say what of it runs
	@$(CLUSTER) status

images: $(STAMP) ## Build the container images and load them into the cluster
	@$(CLUSTER) images

demo-cluster: $(STAMP) ## The main job by helm and kubectl on that node; pictures in ./easel-output/cluster
	@$(CLUSTER) demo

bench: bench-run bench-engine bench-cluster bench-scaling bench-control-plane bench-routing ## Run all benchmarks; results in build/benchmarks

bench-run: $(STAMP) ## easel run: start to first picture
	@$(BIN)/python benchmarks/run_first_picture/bench.py

bench-engine: $(STAMP) ## The engine against the stock pipeline, a tuned script and static batching; last line: the ratio at 16 clients
	@$(BIN)/python benchmarks/engine/bench.py

bench-cluster: $(STAMP) ## kubectl apply to first object, against a bare Job
	@$(BIN)/python benchmarks/cluster_first_object/bench.py

bench-scaling: $(STAMP) ## A day of jobs in fake time: GPU-hours and waits of our policy, KEDA's and the HPA's
	@$(BIN)/python benchmarks/scaling/bench.py

bench-control-plane: $(STAMP) ## 1,000 models and 10,000 jobs on KWOK nodes: latency, writes, CPU and memory, beside a naive kopf operator
	@$(BIN)/python benchmarks/control_plane/bench.py

bench-routing: $(STAMP) ## decisions about who makes an item in a second, and the memory of a worker with all providers
	@$(BIN)/python benchmarks/routing/bench.py
	@$(BIN)/python benchmarks/routing/memory.py

clean: ## Remove the virtual environment and everything built in this folder
	@rm -rf $(VENV) build dist easel-output
