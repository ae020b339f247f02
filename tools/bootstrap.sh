#!/usr/bin/env bash
# Make .venv from uv.lock, with the uv that is there or a private one in .tools. Needs Python >= 3.11.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/say.sh
. tools/say.sh

find_python() {
  local name
  for name in python3.11 python3.12 python3.13 python3.14 python3; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  fail "Python 3.11 or newer is needed; on Debian 12: apt-get install -y python3"
}

install_uv() {
  local python
  python=$(find_python)
  say "no uv on PATH: installing one into .tools ($python)"
  rm -rf .tools/uv-venv
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    as_root_or_fail "Python's venv module is missing" "apt-get install -y python3-venv"
    say "installing python3-venv"
    apt_install python3-venv
  fi
  "$python" -m venv .tools/uv-venv
  .tools/uv-venv/bin/python -m pip install --quiet --disable-pip-version-check uv
  mkdir -p .tools/bin ~/.local/bin
  ln -sfn ../uv-venv/bin/uv .tools/bin/uv
  if [ ! -e ~/.local/bin/uv ]; then ln -sfn "$PWD/.tools/uv-venv/bin/uv" ~/.local/bin/uv; fi
  case ":$callers_path:" in
    *":$HOME/.local/bin:"*) ;;
    *) say "to call uv yourself: export PATH=\"\$HOME/.local/bin:\$PATH\"" ;;
  esac
}

callers_path=$PATH
export PATH="$PWD/.tools/bin:$HOME/.local/bin:$PATH"
uv --version >/dev/null 2>&1 || install_uv
say "installing dependencies into .venv ($(uv --version))"
# compiled: else each program compiles what it imports, where Python may not keep bytecode
uv sync --frozen --quiet --extra examples --compile-bytecode
say "ready; try: make run ONCE=1"
