#!/usr/bin/env bash
# Makes the root file system that every image of a suite begins with, as a tar file: Debian for
# arm64, a kernel, the Pi's firmware and what the package of the daemon depends on.
#
#   deploy/image/root.sh SUITE TAR PACKAGE...
#
# Runs as root, or as a user that /etc/subuid has numbers for. Packages come from the mirror that
# this machine's apt is configured with. SOURCE_DATE_EPOCH is the latest date of any file.
#
# This machine's own apt and dpkg unpack; only the packages' scripts are emulated, and those that
# would take minutes are omitted or run with this machine's tools.
set -euo pipefail

suite=$1 tar=$2
shift 2
export PACKAGES="$*"
# The Pi's CPU. QEMU's default also does pointer authentication in software, which Debian 13's programs
# use: five times slower.
export QEMU_CPU=cortex-a72
here=$(cd "$(dirname "$0")" && pwd)

say() { printf 'image: %s\n' "$*" >&2; }

# sources: this machine's Debian archives, for the other suite.
sources() {
  local own
  # shellcheck source=/dev/null
  own=$(. /etc/os-release && echo "$VERSION_CODENAME")
  # shellcheck disable=SC2016  # apt's own variables
  apt-get indextargets --format '$(SITE) $(RELEASE) $(COMPONENT) $(LABEL)' 'Created-By: Packages' |
    sed -n "s|^\([^ ]*\) \(${own}[^ ]*\) main Debian.*|\1 \2|p" | sort -u |
    sed "s| $own| $suite|; s|.*|deb & main non-free-firmware|"
}

# emulate: let this kernel run arm64 programs.
emulate() {
  local misc=/proc/sys/fs/binfmt_misc interpreter
  if [ "$(dpkg --print-architecture)" = arm64 ] || grep -qs '^enabled' $misc/qemu-aarch64*; then
    return
  fi
  if [ "$(id -u)" -ne 0 ]; then
    say "arm64 programs do not run here; run as root: apt-get install qemu-user-static binfmt-support"
    exit 69
  fi
  interpreter=$(command -v qemu-aarch64-static || command -v qemu-aarch64)
  [ -e $misc/register ] || mount -t binfmt_misc binfmt_misc $misc
  if ! grep -qs '^enabled' $misc/qemu-aarch64*; then # the mask matches every arm64 ELF file
    printf ':qemu-aarch64-edge:M::\\x7fELF\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\xb7\\x00:\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff:%s:OPF' \
      "$interpreter" >$misc/register
  fi
}

emulate
SOURCES=$(sources)
export SOURCES # also the SD card's sources, for upgrades
if [ -z "$SOURCES" ]; then
  say "apt has no Debian archive here; run apt-get update on Debian"
  exit 69
fi
mode=root
[ "$(id -u)" -eq 0 ] || mode=unshare
mapfile -t lean < <(sed -n 's/^path/--dpkgopt=path/p' "$here/dpkg.cfg")
mmdebstrap --quiet --mode=$mode --variant=essential --architectures=arm64 --format=tar \
  --skip=check/qemu --aptopt='APT::Install-Recommends "false"' --dpkgopt=force-unsafe-io \
  "${lean[@]}" \
  --customize-hook="unshare --mount bash '$here/inside.sh' \"\$1\"" \
  "$suite" "$tar" - <<<"$SOURCES"
