#!/usr/bin/env bash
# The serving binary must not carry XGBoost: no XGB symbol, no C++ library. Prints its size.
set -euo pipefail
cargo build --profile slim --locked -p serin --no-default-features
binary="${CARGO_TARGET_DIR:-target}/slim/serin"
if grep -qa XGBoosterCreate "$binary"; then echo "the serving binary contains XGBoost"; exit 1; fi
if command -v ldd >/dev/null && ldd "$binary" | grep -qE 'gomp|stdc\+\+|xgboost'; then
  echo "the serving binary needs a C++ library:"; ldd "$binary"; exit 1
fi
if output=$("$binary" train x.csv --label y 2>&1); then echo "train worked without XGBoost"; exit 1; fi
case "$output" in *"built for serving only"*) ;; *) echo "unexpected: $output"; exit 1 ;; esac
printf 'serving binary without XGBoost: %.1f MB\n' "$(wc -c <"$binary" | awk '{print $1/1e6}')"
