#!/usr/bin/env bash
# make_image.sh OUT.sif [PACKAGES]: build a small real Python image from Debian packages, without any container registry.
#
# PACKAGES is a directory of installed Python packages (wheels for Python 3.11 on manylinux) that go into it, too.
# About 11 MB of packages are unpacked (no maintainer script runs) with busybox into a 50 MB tree, a 17 MB image.
# Idempotent: an image that is there is kept. A SIF is not byte-reproducible: its sha256 belongs to this build alone.
set -euo pipefail

out=$(realpath -m "$1")
packages=${2:+$(realpath "$2")}
[ ! -e "$out" ] || exit 0
[ "$(id -u)" = 0 ] || { echo "make_image.sh must run as root" >&2; exit 77; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$(dirname "$out")" "$work/debs" "$root"/{proc,sys,dev,tmp,root,home,etc,var/tmp,bin,opt}

(cd "$work/debs" && apt-get -qq -o APT::Sandbox::User=root -o Acquire::Retries=3 download \
  python3-minimal python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libc6 libgcc-s1 zlib1g libexpat1 \
  libssl3 libbz2-1.0 liblzma5 libffi8 libuuid1 libcrypt1 libsqlite3-0 busybox-static ${packages:+libstdc++6})
for deb in "$work"/debs/*.deb; do dpkg-deb -x "$deb" "$root"; done
rm -rf "$root"/usr/share/{doc,man,locale,lintian} "$root"/usr/lib/*/gconv
mkdir -p "$root/usr/lib/python3/dist-packages"
if [ -n "$packages" ]; then
  cp -a "$packages/." "$root/usr/lib/python3/dist-packages/"
fi

# What Debian's maintainer scripts would do: else each program in a container compiles all that it imports.
chroot "$root" /usr/bin/python3.11 -m compileall -q --invalidation-mode unchecked-hash \
  /usr/lib/python3.11 /usr/lib/python3/dist-packages

for applet in $("$root/bin/busybox" --list); do
  [ -e "$root/bin/$applet" ] || ln -s busybox "$root/bin/$applet"
done
touch "$root"/etc/{resolv.conf,hosts,localtime}
echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
echo 'root:x:0:' >"$root/etc/group"
chmod 1777 "$root/tmp" "$root/var/tmp"

# Built beside its final name and renamed: a half-written image is never taken for one.
apptainer -q build "$out.$$" "$root" 2>"$work/build.log" || { cat "$work/build.log" >&2; exit 1; }
mv "$out.$$" "$out"
