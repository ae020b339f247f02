#!/usr/bin/env bash
# Install a real Apptainer on Debian 12: as root, idempotent, into $APPTAINER_PREFIX (default /opt/apptainer).
#
# Apptainer is packaged in sid only and needs glibc >= 2.38 (bookworm has 2.36). It is unpacked together with its own
# glibc and libraries into the prefix, and its two ELF files are pointed at that loader. sid's package index goes to a
# private apt state directory: the system's own apt never sees sid.
set -euo pipefail

prefix=${APPTAINER_PREFIX:-/opt/apptainer}
export DEBIAN_FRONTEND=noninteractive

[ "$(id -u)" = 0 ] || { echo "install_apptainer.sh must run as root" >&2; exit 77; }

install_packages() {
  local wanted="squashfs-tools squashfuse fuse3 uidmap patchelf busybox-static ca-certificates"
  # shellcheck disable=SC2086
  if [ "$(dpkg-query -W -f '${Status}\n' $wanted 2>/dev/null | grep -c 'ok installed')" = "$(wc -w <<<"$wanted")" ]; then
    return 0
  fi
  local apt=(apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
  "${apt[@]}" update
  # shellcheck disable=SC2086
  "${apt[@]}" install -y --no-install-recommends $wanted >/dev/null
}

download_packages() { # WORK: unpack sid's apptainer and its libraries into WORK/tree
  local work=$1 mirror
  mkdir -p "$work"/{lists/partial,cache/archives/partial,debs,tree}
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/*$') \
    || { echo "no Debian mirror in this machine's apt sources" >&2; return 1; }
  printf 'Types: deb\nURIs: %s\nSuites: sid\nComponents: main\nSigned-By: %s\n' \
    "$mirror" /usr/share/keyrings/debian-archive-keyring.gpg >"$work/sid.sources"
  local apt=(apt-get -qq
    -o "Dir::Etc::sourcelist=$work/sid.sources" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache"
    -o Acquire::Languages=none -o APT::Sandbox::User=root -o Acquire::Retries=3
    -o Acquire::Check-Valid-Until=false -o Acquire::Check-Date=false)
  "${apt[@]}" update
  (cd "$work/debs" && "${apt[@]}" download apptainer libc6 libgcc-s1 libseccomp2 libsqlite3-0)
  local deb
  for deb in "$work"/debs/*.deb; do dpkg-deb -x "$deb" "$work/tree"; done
}

assemble_prefix() { # WORK: move a relocated tree to the prefix
  local work=$1 tree=$1/tree new=$1/prefix triplet loader pattern elf link
  triplet=$(basename "$(dirname "$(find "$tree/usr/lib" -mindepth 2 -maxdepth 2 -name apptainer -type d | head -1)")")
  loader=$(basename "$(find "$tree/usr/lib/$triplet" -maxdepth 1 -name 'ld-linux-*.so.*' | head -1)")
  mkdir -p "$new"/{bin,etc,lib/"$triplet",var/lib/apptainer/mnt/session,var/lib/apptainer/mnt/source}
  cp -a "$tree/usr/bin/apptainer" "$new/bin/"
  cp -a "$tree/etc/apptainer" "$new/etc/apptainer"
  cp -a "$tree/usr/lib/$triplet/apptainer" "$new/lib/$triplet/apptainer"
  for pattern in "$loader" libc.so.6 libm.so.6 libpthread.so.0 libdl.so.2 librt.so.1 libresolv.so.2 \
    'libseccomp.so.2*' 'libsqlite3.so.*' libgcc_s.so.1; do
    # shellcheck disable=SC2086
    cp -a "$tree/usr/lib/$triplet"/$pattern "$new/lib/"
  done
  # DT_RPATH (--force-rpath) is inherited by the libraries themselves (libsqlite3 needs libm), RUNPATH is not.
  for elf in "$new/bin/apptainer" "$new/lib/$triplet/apptainer/bin/starter"; do
    patchelf --set-interpreter "$prefix/lib/$loader" "$elf"
    patchelf --force-rpath --set-rpath "$prefix/lib" "$elf"
  done
  # Debian's libexecdir is lib/<multiarch>, one level deeper than apptainer's relocation expects: its starter takes
  # $prefix/lib for the prefix, so the prefix's folders are linked there.
  for link in var etc bin; do ln -s "../$link" "$new/lib/$link"; done
  ln -s . "$new/lib/lib"
  # In a container of its own root may lack CAP_SYS_RESOURCE; 'full' then fails with "Requesting capability set".
  sed -i 's/^root default capabilities = .*/root default capabilities = no/' "$new/etc/apptainer/apptainer.conf"
  rm -rf "$prefix"
  mkdir -p "$(dirname "$prefix")"
  chmod 755 "$new"
  mv "$new" "$prefix"
}

install_apptainer() {
  if "$prefix/bin/apptainer" --version >/dev/null 2>&1; then return 0; fi
  local work
  work=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "rm -rf '$work'" EXIT
  download_packages "$work"
  assemble_prefix "$work"
}

install_packages
install_apptainer
ln -sfn "$prefix/bin/apptainer" /usr/local/bin/apptainer
if [ -e /dev/fuse ]; then chmod 666 /dev/fuse; fi # udev's default; others than root could not mount an image
apptainer --version
