#!/usr/bin/env bash
# Install what the tests start as a private S3 server: Ceph's monitor, object store and RADOS gateway. Nothing is left
# running.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/say.sh
. tools/say.sh

wanted=(ceph-mon ceph-osd radosgw)

missing=()
for package in "${wanted[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} = 0 ] && exit 0

if ! can_be_root || ! command -v apt-get >/dev/null; then
  {
    echo "**********************************************************************"
    echo "NOT INSTALLED: ${missing[*]}"
    echo "The tests that need an S3 server WILL NOT RUN: this account has neither root nor"
    echo "sudo without password on a Debian system. Remedy: run tools/setup-s3.sh as root."
    echo "**********************************************************************"
  } >&2
  exit 0
fi

say "installing an S3 server: Ceph's monitor, object store and gateway (no service is started)"
apt_install "${missing[@]}"
for unit in ceph.target ceph-mon.target ceph-osd.target ceph-radosgw.target; do # nor with the machine's next start
  ! command -v systemctl >/dev/null || as_root systemctl --quiet disable "$unit" 2>/dev/null || true
done
