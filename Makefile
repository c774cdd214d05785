# The only list of commands; CI calls these targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
CARGO_NEXTEST := $(shell command -v cargo-nextest 2>/dev/null)

.PHONY: help setup demo test lint unit slim environments conformance screenshots yardstick bench-scoring bench-simulate bench-tracking bench-search bench-serving bench-monitoring bench-rollout bench-dashboard bench-performance bench-drift proof-delivery proof-demo fuzz clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## check for what is missing and install it (Rust, C++ compiler, cmake, ninja, libclang, ccache)
	@bash build/setup.sh

demo: setup ## the whole loop in a few minutes, with the dashboard beside it; stays open until Ctrl-C
	cargo run --release --locked -p serin -- demo

test: setup ## everything CI runs; what does not share a build folder is built side by side
	$(MAKE) --no-print-directory -j3 lint slim environments
	$(MAKE) --no-print-directory unit
	$(MAKE) --no-print-directory conformance

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

slim: setup ## build the small binary serin-scorer, check what it is made of and its size
	@bash build/check-slim.sh

environments: setup ## the Python environments of the conformance suite, made once
	@bash conformance/environments.sh

conformance: setup ## Python peers (mlflow 3 and 2, xgboost, scikit-learn from PyPI) against the built binary
	@bash conformance/run.sh

yardstick: setup ## the published fraud benchmark, printed
	cargo test --release --workspace --locked --test it yardstick -- --nocapture

bench-scoring: setup ## our forest beside XGBoost's own predictor, in one run
	cargo bench --locked -p serin-training --bench scoring

bench-simulate: ## simulated transactions a second
	cargo bench --locked -p serin-dataset --bench simulate

bench-tracking: setup ## our tracking server beside MLflow's own (1 and 4 workers), in one run
	@bash conformance/run.sh bench/tracking.py

bench-search: setup ## searches over 100,000 runs on SQLite and PostgreSQL, beside MLflow's own server
	@bash conformance/run.sh bench/search.py

bench-serving: setup ## our scoring server beside FastAPI, mlflow models serve and bare hyper, in one run
	cargo build --quiet --release --locked -p serin --example serving_bench
	@bash conformance/run.sh bench/serving.py

bench-monitoring: setup ## what the live monitor costs a decision, in one run
	cargo build --quiet --release --locked -p serin --example serving_bench
	@bash conformance/run.sh bench/monitoring.py

bench-rollout: setup ## what a rollout under way costs the live path, in one run
	cargo build --quiet --release --locked -p serin --example serving_bench
	@bash conformance/run.sh bench/rollout.py

bench-dashboard: setup ## weights and times of the pages on 10,000 runs and 10 million decisions, beside MLflow's server
	@bash conformance/run.sh bench/dashboard.py

bench-performance: setup ## figures by labels from 10 million decisions over 30 days, beside the bytes alone, in one run
	cargo build --quiet --release --locked -p serin-decisions --example ten_million
	@bash conformance/run.sh bench/performance.py

bench-drift: setup ## drift of 50,000 x 30 beside Evidently, in one run
	@bash conformance/run.sh bench/drift.py

screenshots: setup ## pictures of the dashboard into docs/screenshots, made while the demo runs
	@bash conformance/run.sh screenshots.py

proof-delivery: setup ## false rollbacks over 10,000 simulated rollouts a line, how soon harm is seen, 8 faults and 50 retrains for real
	PROOF_RUNS=10000 cargo test --release --locked -p serin-analysis --test delivery_proof -- --nocapture --test-threads 1
	@bash conformance/run.sh bench/delivery.py

proof-demo: setup ## the demo's story ten times on one core beside a busy loop, and once on the idle machine: the same facts
	cargo build --release --locked -p serin
	SERIN=target/release/serin python3 conformance/demo_proof.py

fuzz: ## feed the model reader and the scoring routes hostile bytes, 10 minutes each (installs cargo-fuzz)
	@bash build/fuzz.sh

clean: ## remove build outputs and the demo's state
	cargo clean && rm -rf serin-demo serin-state .venv-conformance .venv-conformance-2 .venv-conformance-evidently
