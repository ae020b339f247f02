#!/usr/bin/env bash
# Install what the tests of real components start themselves: PostgreSQL, Chromium, Apptainer. Nothing is left running.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/say.sh
. tools/say.sh

has_postgresql() { compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; }
has_chromium() { # with a font, and the one library that Playwright's own node expects from the system
  [ -x /usr/bin/chromium ] && compgen -G '/usr/share/fonts/truetype/dejavu/*.ttf' >/dev/null \
    && compgen -G '/usr/lib/*/libatomic.so.1' >/dev/null
}
has_apptainer() { [ ! -e tests/support/parts/install_apptainer.sh ] || apptainer --version >/dev/null 2>&1; }

missing=()
has_postgresql || missing+=(PostgreSQL)
has_chromium || missing+=(Chromium)
has_apptainer || missing+=(Apptainer)
[ ${#missing[@]} = 0 ] && exit 0

can_install_or_say "them" tools/setup-real.sh "${missing[@]}" || exit 0

if ! has_postgresql; then
  say "installing PostgreSQL (no cluster is made, no service started)"
  # postgresql-common makes a cluster on installation unless told not to.
  as_root mkdir -p /etc/postgresql-common/createcluster.d
  echo "create_main_cluster = false" | as_root tee /etc/postgresql-common/createcluster.d/ccat.conf >/dev/null
  apt_install postgresql
fi
if ! has_chromium; then
  say "installing Chromium and a font"
  apt_install chromium fonts-dejavu-core libatomic1
fi
if ! has_apptainer; then
  say "installing Apptainer"
  as_root env PATH="$PATH" bash tests/support/parts/install_apptainer.sh
fi
