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

missing_of() { # PACKAGES: writes those that are not installed
  local package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
  done
}

# Where nothing can be installed, the tests that need it are not run: loudly, and that is no failure.
can_install_or_say() { # WHAT THE TESTS NEED, SCRIPT, WHAT IS MISSING
  can_be_root && command -v apt-get >/dev/null && return
  {
    echo "**********************************************************************"
    echo "NOT INSTALLED: ${*:3}"
    echo "The tests that need $1 WILL NOT RUN: this account has neither root nor"
    echo "sudo without password on a Debian system. Remedy: run $2 as root."
    echo "**********************************************************************"
  } >&2
  return 1
}
