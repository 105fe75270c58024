# voxd: `make help` lists what there is. Works as root and as an ordinary user.
#
# Everything is built in one profile (dev), so that run, test and lint share their work. What the targets install goes
# into .voxd/ (Python environments) or, for system packages, through .ci/deps.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The committed .sqlx describes the queries: whatever database the shell points at, the build does not ask it.
unexport DATABASE_URL
export SQLX_OFFLINE := true

SAY := @printf '\n\033[1m==> %s\033[0m\n'

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: run
run: deps ## Installs what is missing, builds, and runs everything on this machine (ARGS="…" for voxd dev)
	$(SAY) 'building voxd'
	@cargo build --locked
	$(SAY) 'voxd dev'
	@target/debug/voxd dev $(ARGS) || { code=$$?; \
	    [ $$code -ne 69 ] || echo 'Options of voxd dev go into ARGS: make run ARGS="--http-port 0"' >&2; exit $$code; }

.PHONY: deps
deps: ## Installs missing system packages, or names them
	@.ci/deps

.PHONY: test
test: deps .voxd/venv-moto/.done ## All tests (T="name" for some)
	$(SAY) 'testing'
	@cargo test --locked -- --test-threads=4 $(T)

.PHONY: lint
lint: deps .voxd/venv-lint/.done ## Formatting, clippy, SQL, docs, dependencies, deployment files, house rules
	$(SAY) 'cargo fmt'
	@cargo fmt --check
	$(SAY) 'house rules'
	@.voxd/venv-lint/bin/python .ci/lint-house
	@.voxd/venv-lint/bin/python .ci/readme --check
	$(SAY) 'dependencies'
	@.voxd/venv-lint/bin/python .ci/lint-deps
	$(SAY) 'deployment files'
	@.voxd/venv-lint/bin/python .ci/lint-deploy
	$(SAY) 'cargo clippy'
	@cargo clippy --all-targets --locked -- -D warnings
	$(SAY) 'queries against the migrations'
	@.ci/sqlx --check
	$(SAY) 'documentation'
	@RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --locked --document-private-items

.PHONY: chaos
chaos: deps ## Kills replicas and Postgres under load, then counts (VOXD_CHAOS_SEED=… to repeat a run)
	@cargo test --locked --test it chaos_loses -- --ignored --nocapture --test-threads=1

.PHONY: crash
crash: deps ## A crash at every step of the send protocol, crossed with every provider script
	@VOXD_TEST_ALL_CRASHES=1 cargo test --locked --test it crash:: -- --nocapture

.PHONY: rates
rates: deps ## 10,000 jobs against 50 calls a second and 20 at once on two replicas: the peaks, and how much of the rate is used
	@VOXD_TEST_ALL_RATES=1 cargo test --locked --test it rates::the_rate -- --nocapture --test-threads=1

.PHONY: fuzz
fuzz: deps ## Ten million hostile sound files against the parsers, with memory counted (VOXD_FUZZ_INPUTS=…)
	@VOXD_FUZZ_INPUTS=$${VOXD_FUZZ_INPUTS:-10000000} cargo test --locked --lib audio::fuzz -- --nocapture

.PHONY: bench
bench: deps ## Events per second, latency, CPU and memory on this machine (after bench-peers: beside the rivals)
	@cargo bench --locked --bench peers

.PHONY: test-sdks
test-sdks: deps .voxd/venv-sdks/.done ## The vendors' own SDKs against the simulated platforms
	@tests/sdks/run

.PHONY: bench-sdks
bench-sdks: deps .voxd/venv-sdks/.done ## Counts what each SDK sends after one 504, beside voxd; writes README.md's table
	@tests/sdks/run --readme

.PHONY: bench-peers
bench-peers: deps .voxd/venv-peers/.done .voxd/peers/.done ## Installs the rivals that `make bench` measures in the same run (wants npm)

.PHONY: sqlx
sqlx: deps ## Rewrites .sqlx after a change of SQL, against a throwaway Postgres
	@.ci/sqlx

.PHONY: openapi
openapi: deps ## Rewrites the OpenAPI document that the tests hold, after a change of the HTTP interface
	@cargo run --locked --quiet -- schema openapi > tests/snapshots/openapi.json

.PHONY: readme
readme: ## Rewrites README.md's table of settings from src/config/default.toml
	@python3 .ci/readme

.PHONY: fmt
fmt: ## Formats the code
	@cargo fmt

.PHONY: docs
docs: ## Builds the documentation of the code
	@RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --locked --document-private-items
	@echo 'target/doc/voxd/index.html'

.PHONY: clean-dev
clean-dev: ## Drops the data of `voxd dev`
	@.ci/clean-dev

# Python environments, made anew when their list changes. The mark is made last: one cut short is no environment.
.voxd/venv-moto/.done: tests/requirements-moto.txt
.voxd/venv-lint/.done: .ci/requirements-lint.txt
.voxd/venv-sdks/.done: tests/sdks/requirements.txt
.voxd/venv-peers/.done: tests/bench/peers/requirements.txt
.voxd/venv-%/.done:
	$(SAY) 'installing $<'
	@rm -rf .voxd/venv-$*
	@mkdir -p .voxd
	@python3 -m venv .voxd/venv-$*
	@.voxd/venv-$*/bin/pip install --disable-pip-version-check --quiet --progress-bar off --requirement $<
	@touch $@

# sqs-consumer wants a newer Node than Debian's; npm's package `node` brings one.
.voxd/peers/.done: tests/bench/peers/package.json
	$(SAY) 'installing $<'
	@command -v npm >/dev/null || { echo 'npm is missing. Type: apt-get install --no-install-recommends npm' >&2; exit 1; }
	@rm -rf .voxd/peers && mkdir -p .voxd/peers
	@cp $< .voxd/peers/
	@npm install --prefix .voxd/peers --no-audit --no-fund --loglevel=error
	@touch $@
