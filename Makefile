# The only list of commands; CI calls these targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
CARGO_NEXTEST := $(shell command -v cargo-nextest 2>/dev/null)

.PHONY: help setup demo test check lint unit slim conformance yardstick bench-scoring bench-simulate fuzz size clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## check for what is missing and install it (Rust, C++ compiler, cmake, ninja, libclang, ccache)
	@bash build/setup.sh

demo: setup ## simulate, train, register, serve, send traffic; serves until Ctrl-C
	cargo run --release --locked -p serin -- demo

test: setup lint unit slim conformance ## everything CI runs

lint: ## formatting and lints, warnings denied
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --document-private-items

unit: ## all Rust tests, real binary and real XGBoost included
ifdef CARGO_NEXTEST
	cargo nextest run --workspace --locked
else
	cargo test --workspace --locked
endif

slim: setup ## build the serving binary without XGBoost, check it, print sizes
	@bash build/check-slim.sh

conformance: ## Python peers (mlflow, xgboost, scikit-learn from PyPI) against the built binary
	@bash conformance/run.sh

yardstick: setup ## the published fraud benchmark, printed
	cargo test --release --workspace --locked --test it yardstick -- --nocapture

bench-scoring: setup ## our forest beside XGBoost's own predictor, in one run
	cargo bench --locked -p serin-training --bench scoring

bench-simulate: ## simulated transactions a second
	cargo bench --locked -p serin-dataset --bench simulate

fuzz: ## feed the model reader hostile files for 10 minutes (needs nightly Rust; installs cargo-fuzz)
	@bash build/fuzz.sh

clean: ## remove build outputs and the demo's state
	cargo clean && rm -rf serin-demo serin-state .venv-conformance
