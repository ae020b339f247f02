#!/usr/bin/env bash
# Install what the tests start as a private S3 server: Ceph's monitor, object store and RADOS gateway. Nothing is left
# running.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/say.sh
. tools/say.sh

wanted=(ceph-mon ceph-osd radosgw)

mapfile -t missing < <(missing_of "${wanted[@]}")
[ ${#missing[@]} = 0 ] && exit 0

can_install_or_say "an S3 server" tools/setup-s3.sh "${missing[@]}" || exit 0

say "installing an S3 server: Ceph's monitor, object store and gateway (no service is started)"
apt_install "${missing[@]}"
for unit in ceph.target ceph-mon.target ceph-osd.target ceph-radosgw.target; do # nor with the machine's next start
  ! command -v systemctl >/dev/null || as_root systemctl --quiet disable "$unit" 2>/dev/null || true
done
