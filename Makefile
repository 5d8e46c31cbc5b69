# Everything that these targets need, they install, into .venv and .cache. They want Python 3.11 or newer.
# Another one than the first found:  make PYTHON=/path/to/python3.12 test

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $$p && break; done)
BIN := .venv/bin
READY := .venv/.ready
PYTEST := $(BIN)/python -m pytest
# Whatever hypothesis tries on what decides: reconcile, limits, the queue, leases, the ledger, adaptive.
PROPERTIES = $(shell grep -l '^from hypothesis' tests/server/test_*.py tests/agent/test_*.py)

.PHONY: demo demo-kubernetes serve test test-kubernetes chaos check bench scale bench-kubernetes old-clients versions environments image clean help

help: ## what there is to make
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

$(READY): pyproject.toml requirements/dev.lock
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer was found; install one or say  make PYTHON=/path/to/python3"; exit 1; }
	@echo "setting up .venv with $(PYTHON)"
	@$(PYTHON) scripts/set_up.py .venv
	@touch $@

demo: $(READY) ## start a server, take the seed notebook's steps with two clients (CI=1: then end)
	@$(BIN)/python demo/run.py $(if $(CI),--end)

demo-kubernetes: $(READY) ## the same in notebooks of a real JupyterHub, on a real Kubernetes (KUBECONFIG's, else one is started)
	@$(BIN)/python -m demo.hub $(if $(CI),--end)

serve: $(READY) ## start a server with the embedded defaults
	@$(BIN)/dask-sluice serve

check: $(READY) ## lint, types, import contract, budgets
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/budgets.py

test: $(READY) ## all tests; those that need a service come last and say why where they are skipped
	@$(BIN)/python scripts/services.py
	$(PYTEST) -m "not real"
	$(PYTEST) -m real --ignore tests/kubernetes --ignore tests/chart
	$(PYTEST) -m "real and not slow" tests/kubernetes tests/chart

test-kubernetes: $(READY) ## all tests against a real Kubernetes: the one of KUBECONFIG, else one is started
	$(PYTEST) tests/kubernetes tests/chart

chaos: $(READY) ## 500 kills at random points, then every property on 10,000 examples
	$(BIN)/python -m tests.chaos --backend fake --kills 200
	$(BIN)/python -m tests.chaos --backend local --kills 260
	$(BIN)/python -m tests.chaos --backend servers --kills 40
	SLUICE_ROUNDS=100 $(PYTEST) tests/real/test_scale_down.py
	SLUICE_ORDERS=200 $(PYTEST) tests/real/test_closing_orders.py
	HYPOTHESIS_PROFILE=chaos $(PYTEST) -m "not real" $(PROPERTIES)

bench: $(READY) ## ours and dask-gateway side by side: one table, bench/latest.json
	$(BIN)/python -m bench.run

scale: $(READY) ## creates, rest, links, crowds, up to 10,000 clusters: bench/scale.json, docs/images/scale.svg
	$(BIN)/python -m bench.scale
	$(BIN)/python -m bench.scale.plot

bench-kubernetes: $(READY) ## starts, waiting schedulers, 50 workers on a real Kubernetes: bench/kubernetes.json
	$(BIN)/python -m bench.kubernetes

old-clients: $(READY) ## every published dask_gateway client since 2022.4, each with the dask of its time
	SLUICE_ALL_CLIENTS=1 $(PYTEST) tests/real/test_old_clients.py

versions: $(READY) ## the agent with every distributed that it works with, the hub's extension with every JupyterHub
	SLUICE_ALL_VERSIONS=1 $(PYTEST) -m real tests/agent tests/hub/test_versions.py

environments: $(READY) ## make every cached environment that tests and benches use
	$(BIN)/python scripts/environments.py --all

IMAGE ?= dask-sluice:dev
BASE ?= python:3.11-slim
image: $(READY) ## the image of servers and proxies, with buildah: make image IMAGE=NAME BASE=IMAGE-WITH-PYTHON
	$(BIN)/python scripts/image.py --base $(BASE) --tag $(IMAGE)

clean: ## delete .venv and every cache
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
