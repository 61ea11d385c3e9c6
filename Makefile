# What one does with Stemflow. `make demo` and `make test` need nothing done before.
#
# Everything is built in one profile, release: compiling libtorch's binding takes minutes.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -ec
.DEFAULT_GOAL := help
.PHONY: help demo up up-observed test test-k8s test-apiserver test-training chaos lint bench build \
	setup clean

SONG  ?= demo/song.mp3
OUT   ?= out
MODEL ?=
# Of `make chaos`: its length, what all of it comes from, songs per second.
MINUTES ?=
SEED    ?=
RATE    ?=
export SONG OUT MODEL MINUTES SEED RATE

# Passes on what cargo says of each test binary, and adds it up at the end.
SUM := { print; fflush() } \
    /^test result:/ { passed += $$4; failed += $$6 } \
    END { print passed + 0 " passed, " failed + 0 " failed" }

help: ## Show this
	@sed -nE 's/^([a-z0-9-]+):[^#]*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

demo: build ## Separate a song, and stop again; also SONG=… OUT=… MODEL=…
	@scripts/demo

up: build ## Start the whole stack on http://127.0.0.1:5000, until Ctrl-C
	@target/release/stemflow up

up-observed: build ## The same with Prometheus, and Grafana where there is one
	@scripts/up-observed

# The tests run the real binaries, and cargo builds only some of them for that by itself.
test: lint build ## Check everything that CI checks
	@cargo test --release --workspace 2>&1 | awk '$(SUM)'

test-k8s: ## Check k8s/ against every schema there is; needs kubectl and Go
	k8s/check

test-apiserver: build ## Deploy k8s/ to a real API server and scheduler, on nodes of paper; needs the same
	k8s/verify-apiserver

test-training: ## Check how models are made: all of it, at toy scale
	scripts/training test

chaos: build ## Kill, freeze and cut everything while songs go through; also MINUTES=… SEED=… RATE=…
	@target/release/chaos

lint: setup ## Check the form of the code, the dashboards and the manifests
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings
	scripts/check-config

bench: setup ## Measure: the runtime, and the model against Demucs for Python
	cargo bench --profile release --workspace --benches
	scripts/bench-demucs

build: setup
	@cargo build --release --workspace

setup:
	@scripts/setup

clean: ## Delete what was built, and the data of `make up`; downloads stay
	cargo clean
	rm -rf out .stemflow/data
