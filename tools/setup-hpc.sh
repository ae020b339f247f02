#!/usr/bin/env bash
# Install what the tests start as a private cluster: Slurm with its accounting, MariaDB, munge, sshd, and a registry of
# images. Nothing is left running.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/say.sh
. tools/say.sh

wanted=(slurmctld slurmd slurm-client slurmdbd munge mariadb-server-core mariadb-client-core openssh-server openssh-client
  docker-registry)

mapfile -t missing < <(missing_of "${wanted[@]}")
[ ${#missing[@]} = 0 ] && exit 0

can_install_or_say "a cluster" tools/setup-hpc.sh "${missing[@]}" || exit 0

say "installing Slurm, MariaDB, sshd and a registry of images (no service is started)"
apt_install "${missing[@]}"
