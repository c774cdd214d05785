#!/usr/bin/env bash
# libFuzzer on the model reader, SECONDS_TO_RUN long (default 600). cargo-fuzz asks for nightly flags, which the
# installed compiler takes when it is told to.
set -euo pipefail
command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
mkdir -p fuzz/corpus/forest
cp -n crates/serin-scoring/tests/fixtures/versions/*.{ubj,json} fuzz/corpus/forest/ 2>/dev/null || true
RUSTC_BOOTSTRAP=1 cargo fuzz run forest -- -max_total_time="${SECONDS_TO_RUN:-600}" -rss_limit_mb=1024 -malloc_limit_mb=256 -max_len=65536 -timeout=10
