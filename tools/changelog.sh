#!/usr/bin/env bash
# Move the fragments of changelog.d below a new heading of CHANGELOG.md and delete them: tools/changelog.sh X.Y.Z
set -euo pipefail
cd "$(dirname "$0")/.."

version=${1:-}
[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || { echo "usage: make changelog VERSION=X.Y.Z" >&2; exit 64; }

new=$(mktemp)
trap 'rm -f "$new"' EXIT
{
  sed '/^## /,$d' CHANGELOG.md
  echo "## $version ($(date -u +%F))"
  for kind in added changed fixed removed; do
    fragments=$(find changelog.d -name "*.$kind.md" | sort)
    [ -n "$fragments" ] || continue
    printf '\n### %s\n\n' "${kind^}"
    for fragment in $fragments; do sed '1s/^/- /; 2,$s/^/  /' "$fragment"; done
  done
  echo
  sed -n '/^## /,$p' CHANGELOG.md
} >"$new"
cat "$new" >CHANGELOG.md
find changelog.d -name '*.md' ! -name README.md -delete
