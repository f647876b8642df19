# `make` lists the targets. Everything runs in .venv, from hash-pinned locks.

PYTHON ?= python3
BIN := .venv/bin
export PYTHONPATH := .:protos/generated
export PATH := $(CURDIR)/$(BIN):$(PATH)

PROTOS := $(sort $(shell find protos/shop -name '*.proto'))
SERVICES := $(sort $(shell find protos/shop -name '*_service.proto'))
SOURCES := catalogue chassis cli explorer gateway services infra scenarios e2e conftest.py

.DEFAULT_GOAL := help
.PHONY: help setup demo up down start stop status test e2e pace bench bench-page scenarios skeletons pictures check fmt protos release-protos lock migration logs redrive clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

# ---- installing ----

.venv/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.13 …"; exit 1; }
	@echo "Making .venv"
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/.local: .venv/.python requirements-local.lock
	@echo "Installing what the shop needs into .venv (once, about a minute)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar on --require-hashes -r requirements-local.lock
	@touch $@

.venv/.dev: .venv/.python requirements-dev.lock
	@echo "Installing what developers need into .venv (once, about a minute)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar on --require-hashes -r requirements-dev.lock
	@touch .venv/.local $@

setup: .venv/.dev ## install everything that developers need

# ---- running ----

if_installed = [ -x $(BIN)/python ] || { echo "Nothing runs: nothing is installed"; exit 0; };

demo: .venv/.local ## start everything, place the example orders, show their traces; ONCE=1 ends after them
	@$(BIN)/python -m infra.local demo $(if $(ONCE),--once)

up: ## start the containers, once nothing is in their way; returns when all are healthy
	@infra/preflight
	@docker compose up --detach --wait --build
	@docker compose ps --format 'table {{.Service}}\t{{.Status}}\t{{.Ports}}'

down: ## stop the containers; VOLUMES=1 forgets what they stored
	@docker compose --profile metrics down $(if $(VOLUMES),--volumes)

start: .venv/.local ## start everything in the background
	@$(BIN)/python -m infra.local start

stop: ## stop what `make start` started
	@$(if_installed) $(BIN)/python -m infra.local stop

status: ## say what runs
	@$(if_installed) $(BIN)/python -m infra.local status

logs: ## follow the logs of what `make demo` and `make start` run; of containers: docker compose logs --follow
	@ls .run/logs/*.log >/dev/null 2>&1 || { echo "Nothing has run here; of containers: docker compose logs --follow"; exit 1; }
	@tail -n 20 -F .run/logs/*.log

redrive: ## send dead letters back, e.g. make redrive TOPIC=inventory.events
	@./shop dead-letters redrive $(TOPIC)

# ---- proving ----

# Most tests wait most of the time, so two halves share the cores. Told to end, both take down what they have started.
test: .venv/.dev ## every test; those on containers run beside the others
	@mkdir -p .run
	@$(BIN)/pytest -m docker >.run/tests-on-containers.log 2>&1 & containers=$$!; \
	$(BIN)/pytest -m 'not docker' & others=$$!; \
	trap : INT; trap 'kill $$containers $$others' TERM; \
	wait $$others; result=$$?; \
	echo "On containers (.run/tests-on-containers.log):"; wait $$containers || result=$$?; wait; \
	cat .run/tests-on-containers.log; \
	exit $$result

e2e: .venv/.dev ## the end-to-end tests alone
	@$(BIN)/pytest e2e

scenarios: .venv/.dev ## play every scenario, embedded and in containers, and compare its traces with its skeleton
	@ALL_SCENARIOS=1 $(BIN)/pytest e2e/test_every_scenario_comes_out_as_it_should.py

pace: .venv/.dev ## for a minute each: something is locked, fails or is away, and the others keep their pace
	@PACE_SECONDS=60 $(BIN)/pytest chassis/tests/test_pace.py chassis/tests/test_relay_partitions.py e2e/test_a_locked_order_holds_up_no_other.py -k "pace or locked_order"

bench: .venv/.dev ## load the embedded system, e.g. make bench RATE=45 SECONDS=60; COMPOSE=1 loads the containers, PAGE=1 with the explorer open
	@$(BIN)/python -m infra.bench $(if $(COMPOSE),--compose) $(if $(PAGE),--page) $(if $(RATE),--rate $(RATE)) $(if $(SECONDS),--seconds $(SECONDS))

bench-page: .venv/.dev ## measure the explorer in a browser while orders come in: frames of its list, how soon an order is drawn
	@$(BIN)/python -m infra.bench.page $(if $(COMPOSE),--compose) $(if $(RATE),--rate $(RATE)) $(if $(SECONDS),--seconds $(SECONDS))

skeletons: .venv/.dev ## play the scenarios on the running system, and write what their traces are like; NAMES="confirmed" only these
	@$(BIN)/python -m cli.play.write_skeletons $(NAMES)

pictures: .venv/.dev ## take the pictures in docs/pictures again, from orders in containers
	@$(BIN)/python -m infra.pictures

check: .venv/.dev ## style, types, import contracts, protos and locks
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	cd protos && buf lint
	cd protos && buf breaking --against released.binpb
	@rm -rf .run/protos && $(MAKE) --no-print-directory protos GENERATED=.run/protos
	diff -r -x __pycache__ protos/generated .run/protos
	@$(MAKE) --no-print-directory lock LOCKS=.run/locks
	for lock in requirements*.lock; do diff $$lock .run/locks/$$lock || exit 1; done

fmt: .venv/.dev ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	cd protos && buf format -w

# ---- generating ----

GENERATED ?= protos/generated
INCLUDES := -I protos -I protos/vendor
PROTOC := $(BIN)/python -m grpc_tools.protoc

protos: .venv/.dev ## generate the stubs from the protos
	@mkdir -p $(GENERATED)
	@$(PROTOC) $(INCLUDES) --python_out=$(GENERATED) --pyi_out=$(GENERATED) $(PROTOS)
	@$(PROTOC) $(INCLUDES) --grpc_python_out=$(GENERATED) $(SERVICES)
	@$(PROTOC) $(INCLUDES) --include_source_info --descriptor_set_out=$(GENERATED)/descriptors.binpb $(PROTOS)
	@$(PROTOC) -I protos/vendor --python_out=$(GENERATED) --pyi_out=$(GENERATED) protos/vendor/buf/validate/validate.proto
	@$(PROTOC) -I protos/vendor --descriptor_set_out=$(GENERATED)/reflection.binpb protos/vendor/grpc/reflection/v1/reflection.proto

release-protos: .venv/.dev ## take today's protos as the last release that `buf breaking` compares with
	cd protos && buf build --exclude-source-info -o released.binpb

LOCKS ?= .
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate

lock: .venv/.dev ## pin the dependencies by hash; UPGRADE=1 takes the newest that pyproject.toml allows
	@mkdir -p $(LOCKS) && [ "$(LOCKS)" = . ] || cp requirements*.lock $(LOCKS)
	@$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml -o $(LOCKS)/requirements.lock
	@$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --extra tools -c requirements.lock -o $(LOCKS)/requirements-tools.lock
	@$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --extra local -c requirements-tools.lock -o $(LOCKS)/requirements-local.lock
	@$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --extra local --extra dev -c requirements-local.lock -o $(LOCKS)/requirements-dev.lock

migration: .venv/.dev ## begin a migration, e.g. make migration SERVICE=order NAME=add_notes
	@$(BIN)/python -m chassis.migrate new services/$(SERVICE)/migrations $(NAME)

clean: stop ## stop what `make start` started, remove it and what was installed
	rm -rf .venv .run
