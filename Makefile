# One word a job. `make demo` and `make test` do their own set-up; `make check` is what every commit has to pass.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MARK := $(VENV)/.installed
NODE_TESTS := tests/node
comma := ,
DECIDING := tests/policy tests/upstreams tests/audio tests/test_errors.py # what decides is covered by its own tests
.DEFAULT_GOAL := help
.PHONY: help demo test coverage soak fuzz bench check fix run lock tools node clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(MARK)-demo ## Try everything on this machine: gateway, store, speech engines, the openai SDK
	@$(BIN)/audiogate demo

run: $(MARK)-demo ## Serve config/gateway.yaml
	@$(BIN)/audiogate serve --config config/gateway.yaml

test: $(MARK)-dev tools node ## Install what the whole suite needs, and run it
	@rm -f .coverage .coverage.*
	$(BIN)/pytest -n auto $(DECIDING) --cov --cov-context=test --cov-report=
	$(BIN)/python tests/own_coverage.py
	$(BIN)/pytest -n auto --dist worksteal --durations=20 --durations-min=4 $(DECIDING:%=--ignore=%)

coverage: $(MARK)-dev ## What the whole suite covers; it takes a third longer for it
	$(BIN)/pytest -n auto --dist worksteal --cov --cov-report=term

soak: $(MARK)-dev tools ## A few minutes of everything going wrong at once; prints figures (SOAK_SECONDS=60 of mixed load)
	$(BIN)/pytest -m soak -n 0 -s

fuzz: $(MARK)-dev $(MARK)-fuzz ## Hostile bytes for what reads them, guided by coverage (FUZZ=form,door FUZZ_SECONDS=300 for each)
	$(BIN)/python -m tests.fuzz.run --seconds $(or $(FUZZ_SECONDS),300) $(subst $(comma), ,$(FUZZ))

bench: $(MARK)-dev ## Speed, side by side with nginx and other gateways (BENCH=W1,W2 BENCH_AGAINST=nginx BENCH_ROUNDS=3 BENCH_SECONDS=3)
	@$(BIN)/python benchmarks/run.py $(if $(BENCH),--only $(BENCH)) $(if $(BENCH_AGAINST),--against $(BENCH_AGAINST)) \
	  $(if $(BENCH_ROUNDS),--rounds $(BENCH_ROUNDS)) $(if $(BENCH_SECONDS),--seconds $(BENCH_SECONDS))

check: $(MARK)-dev ## Format, lint, types, arrows between rooms, sizes
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tests/sizes.py

fix: $(MARK)-dev ## Format and mend what can be mended by machine
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(MARK)-dev ## Write the lock files anew
	$(BIN)/pip install --quiet uv
	for set in embedded:requirements demo,embedded,build:requirements-demo dev:requirements-dev fuzz:requirements-fuzz; do \
	  $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --no-header --no-annotate --no-emit-package audiogate \
	    $$(echo $${set%%:*} | sed 's/[^,]*/--extra &/g; s/,/ /g') --output-file $${set##*:}.lock; \
	done

clean: ## Remove what was installed here
	rm -rf $(VENV) $(NODE_TESTS)/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .fuzz .import_linter_cache

# Everything is installed by hash; the package itself is linked, so that edits count at once.
$(MARK)-%: requirements-%.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "audiogate needs Python 3.11 or newer; set PYTHON=python3.x")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing (a minute on a slow line) ..."
	@$(BIN)/pip install -qq --disable-pip-version-check --require-hashes --requirement $<
	@$(BIN)/pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --no-index --editable .
	@touch $@

# Programs that some tests drive. Without the right to install them those tests are skipped, and say so.
tools:
	@missing=""; for pair in redis-server:redis-server flite:flite curl:curl faketime:faketime ip:iproute2; do \
	  command -v $${pair%%:*} >/dev/null || missing="$$missing $${pair##*:}"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; \
	  else echo "Not installed, so some tests are skipped:$$missing"; fi; fi
	@command -v promtool >/dev/null || test -x $(BIN)/promtool || ( $(PROMETHEUS) ) >/dev/null 2>&1 || \
	  echo "Not installed, so some tests are skipped: prometheus"

# Two programs out of Debian's package: what that brings besides, for its pages, is three times as much.
define PROMETHEUS
  folder=$$(mktemp -d) && trap 'rm -r "$$folder"' EXIT && mkdir -p $(BIN) && bin=$$(realpath $(BIN)) && cd "$$folder" && \
  { [ "$$(id -u)" != 0 ] || apt-get update -qq; } && apt-get download -qq prometheus && \
  dpkg --fsys-tarfile *.deb | tar -x --strip-components=3 -C "$$bin" ./usr/bin/prometheus ./usr/bin/promtool
endef

node:
	@if command -v npm >/dev/null; then \
	  test $(NODE_TESTS)/node_modules/.package-lock.json -nt $(NODE_TESTS)/package-lock.json || \
	    npm ci --prefix $(NODE_TESTS) --silent --no-audit --no-fund; \
	else echo "No npm, so the tests of the Node SDK are skipped"; fi
