#!/usr/bin/env bash
# libFuzzer on the model reader, SECONDS_TO_RUN long (default 600).
set -euo pipefail
rustc +nightly --version >/dev/null 2>&1 || { echo "fuzzing needs nightly Rust: rustup toolchain install nightly"; exit 1; }
command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
mkdir -p fuzz/corpus/forest
cp -n crates/serin-scoring/tests/fixtures/versions/*.{ubj,json} fuzz/corpus/forest/ 2>/dev/null || true
cargo +nightly fuzz run forest -- -max_total_time="${SECONDS_TO_RUN:-600}" -rss_limit_mb=1024 -malloc_limit_mb=256 -max_len=65536 -timeout=10
