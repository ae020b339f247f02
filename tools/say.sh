# shellcheck shell=bash
# What the setup scripts share; to be sourced.

say() { echo "==> $*"; }

fail() {
  echo "ERROR: $*" >&2
  exit 1
}

can_be_root() { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

as_root_or_fail() { # WHAT IS WRONG, REMEDY
  can_be_root || fail "$1 and there is neither root nor sudo without password; remedy: $2"
}

# Services must not start by being installed: apt asks a policy, for this one call ours, which says no.
apt_install() { # PACKAGES
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
  local policy=/usr/sbin/policy-rc.d ours=""
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
    as_root chmod 755 $policy
    ours=1
  fi
  local status=0 log
  log=$(mktemp)
  { as_root "${apt[@]}" update && as_root "${apt[@]}" install -y --no-install-recommends "$@"; } >"$log" 2>&1 || status=$?
  [ $status = 0 ] || cat "$log" >&2
  rm -f "$log"
  if [ -n "$ours" ]; then as_root rm -f $policy; fi
  return $status
}
