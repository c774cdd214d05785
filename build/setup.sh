#!/usr/bin/env bash
# Checks for what the build needs; installs it with the system's package manager where that is possible
# without asking, else prints the one command to run.
set -euo pipefail

have() { command -v "$1" >/dev/null 2>&1; }
# Whether any of these files is there (`ls` would ask for all of them).
any() { local path; for path in "$@"; do [ -e "$path" ] && return 0; done; return 1; }
libclang() {
  [ -n "${LIBCLANG_PATH:-}" ] || any /usr/lib/llvm-*/lib/libclang*.so* /usr/lib/*/libclang*.so* /usr/lib64/libclang*.so* \
    /opt/homebrew/opt/llvm/lib/libclang.dylib /usr/local/opt/llvm/lib/libclang.dylib \
    /Library/Developer/CommandLineTools/usr/lib/libclang.dylib
}
chromium() {
  have chromium || have chromium-browser || have google-chrome || [ -d "/Applications/Chromium.app" ] || [ -d "/Applications/Google Chrome.app" ]
}
postgres() { have initdb || any /usr/lib/postgresql/*/bin/initdb /opt/homebrew/opt/postgresql*/bin/initdb; }

missing=()
have c++ || missing+=(compiler)
have cmake || missing+=(cmake)
have ninja || missing+=(ninja)
have ccache || missing+=(ccache)
libclang || missing+=(libclang)
# For the tests: they start a server of their own, and drive a browser.
postgres || missing+=(postgresql)
chromium || missing+=(chromium)
case "$(uname -s)" in
  Darwin) [ -d "$(brew --prefix 2>/dev/null || echo /opt/homebrew)/opt/libomp" ] || missing+=(openmp) ;;
esac

if [ ${#missing[@]} -gt 0 ]; then
  echo "missing: ${missing[*]}"
  case "$(uname -s)" in
    Darwin)
      have brew || { echo "Install Homebrew (https://brew.sh), then run: xcode-select --install; brew install cmake ninja ccache llvm libomp postgresql; brew install --cask chromium"; exit 1; }
      have c++ || { echo "run: xcode-select --install"; exit 1; }
      brew install cmake ninja ccache llvm libomp postgresql
      chromium || brew install --cask chromium
      ;;
    Linux)
      packages="build-essential cmake ninja-build ccache libclang-dev clang pkg-config python3-venv postgresql chromium fonts-dejavu-core"
      if have apt-get; then
        if [ "$(id -u)" = 0 ]; then sudo=""; elif have sudo && sudo -n true 2>/dev/null; then sudo="sudo -n"; else
          echo "run: sudo apt-get update && sudo apt-get install -y $packages"; exit 1
        fi
        $sudo apt-get -qq update
        DEBIAN_FRONTEND=noninteractive $sudo apt-get -qq install -y $packages >/dev/null
      else
        echo "install a C++17 compiler, cmake, ninja, ccache and libclang with your package manager"; exit 1
      fi
      ;;
    *) echo "not a system this script knows; install a C++17 compiler, cmake, ninja, ccache and libclang"; exit 1 ;;
  esac
fi

if ! have cargo; then
  if have curl; then
    echo "installing Rust with rustup"
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal -c rustfmt,clippy
  fi
  have cargo || [ -x "$HOME/.cargo/bin/cargo" ] || { echo "install Rust 1.95 or later: https://rustup.rs"; exit 1; }
  have cargo || { echo "Rust is installed; open a new shell, or run: . \"\$HOME/.cargo/env\""; exit 1; }
fi
required=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
present=$(cargo --version | awk '{print $2}')
if [ "$(printf '%s\n%s\n' "$required" "$present" | sort -V | head -n 1)" != "$required" ]; then
  echo "Rust $present is too old, $required is needed; run: rustup update stable"; exit 1
fi
