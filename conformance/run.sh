#!/usr/bin/env bash
# Real Python peers against the built binary.
set -euo pipefail
cd "$(dirname "$0")/.."
bash conformance/environments.sh
venv=.venv-conformance
export AXE="$PWD/$venv/axe-4.14.1.min.js"
export EVIDENTLY_PYTHON="$PWD/.venv-conformance-evidently/bin/python"
export MLFLOW_2X_PYTHON="$PWD/.venv-conformance-2/bin/python"
target="${CARGO_TARGET_DIR:-$PWD/target}"
if [ $# -gt 0 ]; then
  # A benchmark: the optimised binary, and nothing beside it.
  cargo build --quiet --release --locked -p serin
  SERIN="$target/release/serin" exec "$venv/bin/python" "conformance/$1"
fi
# As the tests build it: with the same features nothing is compiled again.
cargo test --quiet --locked --workspace --no-run
SERIN="$target/debug/serin" "$venv/bin/python" -m pytest -q -p no:cacheprovider -n 2 --dist loadfile --durations 15 conformance
