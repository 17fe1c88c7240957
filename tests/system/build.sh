#!/usr/bin/env bash
# Builds a machine to install the package in: Debian with systemd, mosquitto, and the package's
# dependencies.
#
#   tests/system/build.sh FOLDER SUITE ARCH PACKAGE...
#
# amd64: FOLDER/root, for systemd-nspawn. arm64: FOLDER/root.ext4, FOLDER/kernel (an unpacked
# package) and FOLDER/busybox, for QEMU. Does nothing where they exist, made from the same packages by
# this file. Packages come from the mirror that this machine's apt is configured with.
# Needs root.
#
# arm64: this machine's own apt and dpkg resolve and unpack; only maintainer scripts are emulated, and
# those that would take minutes are omitted. An emulated apt takes half an hour.
set -euo pipefail

folder=$1 suite=$2 arch=$3
shift 3
here=$(cd "$(dirname "$0")" && pwd)
packages=(
  apt systemd systemd-sysv dbus udev procps iproute2 # the system
  mosquitto mosquitto-clients                    # a broker, and a subscriber
  openssh-server sudo                            # for `make deploy`
  "$@"
)
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
root=$folder/root
want=$({ cat "$0" "$here"/guest/* && echo "${packages[*]}"; } | sha256sum)
if [ -f "$folder/.complete" ] && [ "$(cat "$folder/.complete")" = "$want" ]; then
  exit 0
fi
echo "system: making $folder: ${packages[*]}" >&2
rm -rf "$folder"
mkdir -p "$folder"

# shellcheck disable=SC2016  # apt's own variables
mirror=$(apt-get indextargets --format '$(SITE) $(ORIGIN) $(LABEL)' |
  sed -n 's/ Debian Debian$//p' | head -n 1)
if [ -z "$mirror" ]; then
  echo "system: apt has no Debian archive here; run apt-get update on Debian" >&2
  exit 69
fi
lean=(
  --aptopt='APT::Install-Recommends "false"' --dpkgopt=force-unsafe-io
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*'
  --dpkgopt='path-exclude=/usr/share/man/*'
)
source="deb $mirror $suite main"

# native PACKAGE...: install into $root; of its programs, only maintainer scripts run.
native() {
  local slow=(/usr/sbin/update-initramfs /usr/bin/py3compile /usr/bin/systemd-hwdb) file
  for file in "${slow[@]}"; do
    dpkg-divert --root="$root" --local --quiet --rename --divert "$file.real" --add "$file"
    mkdir -p "$root${file%/*}"
    ln -sf /bin/true "$root$file"
  done
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
  chmod 755 "$root/usr/sbin/policy-rc.d"
  # Two architectures confuse apt's order of configuration; the root's own dpkg has only one.
  DEBIAN_FRONTEND=noninteractive apt-get -qq -y "${apt[@]}" install "$@" ||
    DEBIAN_FRONTEND=noninteractive chroot "$root" dpkg --force-unsafe-io --configure -a
  for file in "${slow[@]}"; do
    rm -f "$root$file"
    dpkg-divert --root="$root" --local --quiet --rename --remove "$file"
  done
  rm "$root/usr/sbin/policy-rc.d"
}

# As in deploy/image/root.sh: the default is five times slower for Debian 13.
export QEMU_CPU=cortex-a72

# emulate: let this kernel run arm64 programs, while this script runs.
emulate() {
  local misc=/proc/sys/fs/binfmt_misc
  [ -e $misc/register ] || mount -t binfmt_misc binfmt_misc $misc
  if grep -qs '^interpreter.*qemu-aarch64' $misc/*; then
    return
  fi
  trap 'echo -1 >/proc/sys/fs/binfmt_misc/edge-arm64' EXIT
  printf '%s' ':edge-arm64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-aarch64-static:OPF' \
    >$misc/register
}

if [ "$arch" = "$(dpkg --print-architecture)" ]; then
  mmdebstrap --quiet --mode=root --variant=minbase "${lean[@]}" \
    --include="$(IFS=, && echo "${packages[*]}")" "$suite" "$root" "$source"
else
  emulate
  mmdebstrap --quiet --mode=root --variant=essential --architectures="$arch" \
    --skip=check/qemu,cleanup/apt "${lean[@]}" "$suite" "$root" "$source"
  mount -t proc proc "$root/proc" # this runs in a mount namespace of its own
  apt=(
    -o "Dir=$root" -o "Dir::State::status=$root/var/lib/dpkg/status"
    -o Dir::Etc::trustedparts=/etc/apt/trusted.gpg.d -o Dir::Bin::methods=/usr/lib/apt/methods
    -o Dir::Bin::dpkg=/usr/bin/dpkg -o "APT::Architecture=$arch" -o "APT::Architectures=$arch"
    -o APT::Install-Recommends=false -o APT::Sandbox::User=root -o Dpkg::Use-Pty=0
    -o "Dpkg::Options::=--root=$root" -o Dpkg::Options::=--force-unsafe-io
    -o Dpkg::Pre-Install-Pkgs::=true
  )
  native "${packages[@]}"
  mkdir "$folder/kernel"
  cd "$folder/kernel"
  kernel=$(apt-cache "${apt[@]}" depends "linux-image-$arch" |
    sed -n 's/^ *Depends: \(linux-image-[0-9]\)/\1/p')
  apt-get -qq "${apt[@]}" download "$kernel" busybox-static
  for package in ./*.deb; do dpkg-deb -x "$package" .; done
  rm ./*.deb
  mv bin/busybox "$folder/busybox" 2>/dev/null || mv usr/bin/busybox "$folder/busybox"
  umount "$root/proc"
fi

units=$root/etc/systemd/system
mkdir -p "$units/sockets.target.wants"
cp "$here"/guest/* "$units"
ln -s ../test-shell.socket "$units/sockets.target.wants"
ln -sf /dev/null "$units/apt-daily.timer" # which would hold apt's lock
ln -sf /dev/null "$units/apt-daily-upgrade.timer"
echo edge-test >"$root/etc/hostname"
printf '127.0.0.1 localhost edge-test\n' >"$root/etc/hosts"
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root/etc/resolv.conf"
: >"$root/etc/machine-id"
if [ "$arch" != amd64 ]; then
  mke2fs -q -t ext4 -O ^has_journal -m 0 -d "$root" "$folder/root.ext4" 2500M
  rm -rf "$root"
fi
printf '%s\n' "$want" >"$folder/.complete"
