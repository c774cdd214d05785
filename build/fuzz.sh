#!/usr/bin/env bash
# libFuzzer on the model reader and on request bodies, each SECONDS_TO_RUN long (default 600). cargo-fuzz asks for nightly flags, which the
# installed compiler takes when it is told to.
set -euo pipefail
command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
target="${1:-all}"
seed() { # ROUTE BODY: a body that is read, for a start; the first byte is the route
  printf '%b%s' "\\x0$1" "$2" > "fuzz/corpus/requests/seed-$1-$(printf '%s' "$2" | cksum | cut -d' ' -f1)"
}
run() {
  RUSTC_BOOTSTRAP=1 cargo fuzz run "$1" -- -max_total_time="${SECONDS_TO_RUN:-600}" -rss_limit_mb=1024 -malloc_limit_mb=256 -max_len=65536 -timeout=10
}
if [ "$target" = all ] || [ "$target" = forest ]; then
  mkdir -p fuzz/corpus/forest
  cp -n crates/serin-scoring/tests/fixtures/versions/*.{ubj,json} fuzz/corpus/forest/ 2>/dev/null || true
  run forest
fi
if [ "$target" = all ] || [ "$target" = requests ]; then
  mkdir -p fuzz/corpus/requests
  row=$(seq -s, 30)
  names=$(seq -f '"f%g"' -s, 0 29)
  named=$(seq -f '"f%g":1.5' -s, 0 29)
  seed 0 "{\"data\":[[$row],[$row]]}"
  seed 1 "{\"dataframe_split\":{\"columns\":[$names],\"data\":[[$row]]}}"
  seed 1 "{\"dataframe_records\":[{$named}]}"
  seed 1 "{\"inputs\":{\"f0\":[1,2]}}"
  seed 2 "$(seq -f 'f%g' -s, 0 29)
$row"
  seed 3 "{\"id\":\"a\",\"inputs\":[{\"name\":\"x\",\"shape\":[1,30],\"datatype\":\"FP32\",\"data\":[$row]}],\"outputs\":[{\"name\":\"score\"}]}"
  seed 4 "{\"transactions\":[{\"transaction_id\":\"t\",\"entity\":\"e\",\"timestamp\":\"2026-11-25T10:00:00Z\",\"features\":{$named}}],\"explain\":\"all\"}"
  run requests
fi
