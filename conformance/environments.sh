#!/usr/bin/env bash
# The Python environments of the conformance suite, made once each; versions are pinned.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.venv-conformance
stamp="$venv/requirements.sha"
wanted=$(cat conformance/requirements*.txt | cksum)
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  # XGBoost's GPU libraries are 300 MB that nothing here uses.
  "$venv/bin/pip" -q install --no-deps -r conformance/requirements-xgboost.txt
  # Another machine may have another Python: pinned where there is a wheel, the nearest otherwise is not taken.
  "$venv/bin/pip" -q install -r conformance/requirements.txt 2> >(grep -v -e 'dependency resolver' -e 'nvidia-nccl' >&2)
  echo "$wanted" > "$stamp"
fi
# MLflow 2 has other requirements, so it has an environment of its own.
old=.venv-conformance-2
wanted=$(cksum < conformance/mlflow-2.txt)
if [ "$(cat "$old/requirements.sha" 2>/dev/null)" != "$wanted" ]; then
  rm -rf "$old"
  python3 -m venv "$old"
  "$old/bin/pip" -q install --no-deps -r conformance/requirements-xgboost.txt
  "$old/bin/pip" -q install -r conformance/mlflow-2.txt 2> >(grep -v -e 'dependency resolver' -e 'nvidia-nccl' >&2)
  echo "$wanted" > "$old/requirements.sha"
fi
# Evidently cannot be imported beside pandas 3.
evidently=.venv-conformance-evidently
wanted=$(cksum < conformance/evidently.txt)
if [ "$(cat "$evidently/requirements.sha" 2>/dev/null)" != "$wanted" ]; then
  rm -rf "$evidently"
  python3 -m venv "$evidently"
  "$evidently/bin/pip" -q install -r conformance/evidently.txt
  echo "$wanted" > "$evidently/requirements.sha"
fi
# The accessibility checker that runs within the pages, from npm by its published SHA-512.
axe="$venv/axe-4.14.1.min.js"
if [ ! -f "$axe" ]; then
  package=$(mktemp -d)
  curl -fsSL --retry 3 https://registry.npmjs.org/axe-core/-/axe-core-4.14.1.tgz -o "$package/axe.tgz"
  sum=$(python3 -c 'import base64, hashlib, sys; print(base64.b64encode(hashlib.sha512(open(sys.argv[1], "rb").read()).digest()).decode())' "$package/axe.tgz")
  [ "$sum" = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==" ] || { echo "axe-core is not what was published: $sum"; exit 1; }
  tar xzf "$package/axe.tgz" -C "$package" package/axe.min.js
  mv "$package/package/axe.min.js" "$axe"
  rm -r "$package"
fi
