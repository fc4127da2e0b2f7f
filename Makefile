# Every verb a person needs. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
# What fails before a pipe fails the verb.
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3
PY := .venv/bin/python
BIN := .build/bin
COMPILE := .venv/bin/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-annotate --no-header --universal
LUACHECK = $(or $(shell command -v luacheck),$(error luacheck is not installed: run `make packages`)) -q
# Members of the workspace are installed from their folders, and a lock names no folder.
NOT_OURS := --no-emit-package workerpool-operator --no-emit-package workerpool-simulator
# Where it is set, every run compiles every test anew, for longer than many of them take.
unexport PYTHONDONTWRITEBYTECODE
export KUBECTL ?= $(CURDIR)/$(BIN)/kubectl

help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- seeing it work
up: ## Start a cluster (or use KUBECONFIG), install the product, process photos, watch it scale
	@$(PYTHON) -m demo up

down: ## Remove everything `up` started
	@$(PYTHON) -m demo down

picture: venv ## Draw the last run of `up` into docs/pictures/
	@$(PY) -m demo picture

# --- testing
test: packages check ## Everything: checks and all layers of tests, on a real cluster
	@$(PY) -m pytest tests

unit: venv ## The tests people run all day: no network, seconds
	@$(PY) -m pytest -q -p no:kmock --numprocesses auto --dist worksteal tests/unit

contract: packages venv programs ## The resource and the chart, against a real API server
	@$(PY) -m pytest tests/contract

integration: packages venv programs ## Adapters and planes, against real servers and faults
	@$(PY) -m pytest tests/integration

cluster-test: venv ## The product on real kubelets
	@$(PY) -m pytest tests/cluster

cluster-soak: venv ## Thirty cycles of random load on real kubelets: no job is touched by scale-in
	@SCALE_IN_CYCLES=30 SCALE_IN_LONGEST_SECONDS=20 SCALE_IN_REPLICAS=16 SCALE_IN_LEAST=200 \
	  $(PY) -m pytest tests/cluster/test_scale_in.py && tail -n +1 .build/artifacts/scale_in*.json

chaos: venv ## 20,000 jobs in a storm of 300 faults, nothing lost; SEED=… JOBS=… FAULTS=…
	@PYTHONPATH=tests $(PY) tests/chaos/storm_worker.py $(foreach name,SEED JOBS FAULTS,$(if $($(name)),--$(name) $($(name))))

guest-check: venv ## The worker on cgroup v2, hyper-threads and NUMA, in a virtual machine; ACCEL=kvm
	@PYTHONPATH=tests:. $(PY) tests/guest/run.py

guest-packages: ## Install what guest-check needs besides
	@apt-get install --yes --no-install-recommends qemu-system-x86 mmdebstrap e2fsprogs

fuzz-images: venv ## Hand 10,000 damaged images to a decoding child
	@PYTHONPATH=tests $(PY) tests/chaos/fuzz_images.py

fuzz-payloads: venv ## Push 10,000 hostile payloads to a real supervisor
	@PYTHONPATH=tests $(PY) tests/chaos/fuzz_payloads.py

bench-reaction: venv ## KUBECONFIG=…: RPUSH to spec.replicas, in milliseconds, beside a bare PATCH
	@PYTHONPATH=tests $(PY) tests/bench/reaction.py

bench-decisions: venv ## Waiting time and worker-hours against KEDA and Knative, simulated; SEED=…
	@$(PY) tests/bench/decisions.py $(if $(SEED),--seed $(SEED))

bench-decide: venv ## Microseconds of one decision, on 5,000 pools
	@$(PY) tests/bench/decide.py

bench-pools: venv programs ## Memory and processor time of an operator with 500 pools at rest; POOLS=…
	@PYTHONPATH=tests $(PY) tests/bench/pools.py $(if $(POOLS),--pools $(POOLS))

bench-images: venv ## Photos per second and core, beside libvips and a naive Pillow
	@PYTHONPATH=tests $(PY) tests/bench/images.py

bench-cores: venv ## What a core of one's own is worth: one, two, four workers, a neighbour
	@PYTHONPATH=tests $(PY) tests/bench/cores.py

bench-jobs: venv .venv/.bench ## No-op jobs/s of one core, beside a bare BLPOP loop, RQ and Celery
	@PYTHONPATH=tests $(PY) tests/bench/jobs.py

.venv/.bench: locks/bench.txt .venv/.made
	@.venv/bin/uv pip install --quiet --python $(PY) --require-hashes -r locks/bench.txt && touch $@

# --- judging the code
check: venv programs ## Lint, format, types, layers, rendered files
	@.venv/bin/ruff check . && .venv/bin/ruff format --check --quiet .
	@.venv/bin/mypy && .venv/bin/lint-imports | tail -3
	@$(PY) manifests/render.py --check && $(LUACHECK) worker/src operator/src cli/src

format: venv ## Format the code
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .

# --- what the rest stands on
venv: .venv/.made ## Make the virtual environment from the locks

.venv/.made: locks/dev.txt locks/uv.txt operator/pyproject.toml worker/pyproject.toml cli/pyproject.toml simulator/pyproject.toml
	@$(PYTHON) -m venv .venv && .venv/bin/pip install --quiet --require-hashes -r locks/uv.txt
	@.venv/bin/uv pip install --quiet --python $(PY) --require-hashes -r locks/dev.txt
	@.venv/bin/uv pip install --quiet --python $(PY) --no-deps --no-build-isolation -e operator -e worker -e cli -e simulator && touch $@

lock: venv ## Resolve the dependencies anew into locks/
	@for part in operator worker; do $(COMPILE) --all-extras $$part/pyproject.toml -o locks/$$part.txt; done
	@$(COMPILE) $(NOT_OURS) --all-extras --group dev operator/pyproject.toml worker/pyproject.toml cli/pyproject.toml -o locks/dev.txt
	@$(COMPILE) --group bench -c locks/dev.txt -o locks/bench.txt
	@for part in uv build go; do $(COMPILE) locks/$$part.in -o locks/$$part.txt; done

packages: ## Install the system packages that are missing
	@$(PYTHON) -m localcluster install-packages --for-tests

programs: ## Build Kubernetes, Helm and kwok from their Go modules
	@$(PYTHON) -m localcluster build

images: ## Build the container images; IMAGE_REPOSITORY=… pushes them there
	@$(PYTHON) -m localcluster build-images $(if $(IMAGE_REPOSITORY),--push $(IMAGE_REPOSITORY))

clean: ## Remove everything that was built
	@$(PYTHON) -m localcluster clean
	@rm -rf .venv .demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

.PHONY: help up down picture test unit contract integration cluster-test cluster-soak chaos guest-check guest-packages fuzz-images fuzz-payloads bench-reaction bench-decisions bench-decide bench-pools bench-images bench-cores bench-jobs check format venv lock packages programs images clean
