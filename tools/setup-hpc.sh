#!/usr/bin/env bash
# Install what the tests start as a private cluster: Slurm with its accounting, MariaDB, munge, sshd, and a registry of
# images. Nothing is left running.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/say.sh
. tools/say.sh

wanted=(slurmctld slurmd slurm-client slurmdbd munge mariadb-server-core mariadb-client-core openssh-server openssh-client
  docker-registry)

missing=()
for package in "${wanted[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} = 0 ] && exit 0

if ! can_be_root || ! command -v apt-get >/dev/null; then
  {
    echo "**********************************************************************"
    echo "NOT INSTALLED: ${missing[*]}"
    echo "The tests that need a cluster WILL NOT RUN: this account has neither root nor"
    echo "sudo without password on a Debian system. Remedy: run tools/setup-hpc.sh as root."
    echo "**********************************************************************"
  } >&2
  exit 0
fi

say "installing Slurm, MariaDB, sshd and a registry of images (no service is started)"
apt_install "${missing[@]}"
