#!/usr/bin/env bash
# The scoring server alone must carry neither XGBoost nor SQL, need no C++ library, and stay below 15 MB. Prints its size.
set -euo pipefail
most=15000000
cargo build --profile slim --locked -p serin-scorer
binary="${CARGO_TARGET_DIR:-target}/slim/serin-scorer"
if grep -qa XGBoosterCreate "$binary"; then echo "serin-scorer contains XGBoost"; exit 1; fi
if grep -qa 'SQLite format 3' "$binary"; then echo "serin-scorer contains SQLite"; exit 1; fi
if command -v ldd >/dev/null && ldd "$binary" | grep -qE 'gomp|stdc\+\+|xgboost'; then
  echo "serin-scorer needs a C++ library:"; ldd "$binary"; exit 1
fi
# It has no registry of its own, and says what to do.
if output=$(env -u MLFLOW_TRACKING_URI "$binary" --port 0 2>&1); then echo "serin-scorer served without a registry"; exit 1; fi
case "$output" in *"--tracking-uri"*) ;; *) echo "unexpected: $output"; exit 1 ;; esac
size=$(wc -c <"$binary")
printf 'serin-scorer: %s bytes, at most %s\n' "$size" "$most"
[ "$size" -le "$most" ] || { echo "serin-scorer is too large"; exit 1; }
