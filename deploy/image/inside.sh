#!/usr/bin/env bash
# The part of root.sh that runs beside the new root file system, in a mount namespace of its own.
#
#   deploy/image/inside.sh ROOT
set -euo pipefail

root=$1
mapfile -t lean < <(sed -n 's/^path/--path/p' "$(dirname "$0")/dpkg.cfg")
read -ra packages <<<"${PACKAGES:?}"
slow=(
  /usr/sbin/update-initramfs /usr/bin/py3compile /usr/bin/systemd-hwdb
  /usr/bin/update-mime-database /usr/bin/fc-cache # of no use without a screen
)
# The programs that packages' scripts use most. Their versions do not matter there; perl's would,
# since its modules are the suite's.
lent=(
  dash awk cat chmod chown cmp cp cpio cut date find grep gzip head id ln ls mkdir mktemp mv
  readlink realpath rm rmdir sed sort stat tail touch tr uniq wc xargs xz zstd kmod
)
apt=(
  -o "Dir=$root" -o "Dir::State::status=$root/var/lib/dpkg/status"
  -o Dir::Etc::trustedparts=/etc/apt/trusted.gpg.d -o Dir::Bin::methods=/usr/lib/apt/methods
  -o Dir::Bin::dpkg=/usr/bin/dpkg -o APT::Architecture=arm64 -o APT::Architectures=arm64
  -o APT::Install-Recommends=false -o APT::Sandbox::User=root
)

# divert add|remove: programs that are run once at the end, or on the device.
divert() {
  local program
  for program in "${slow[@]}"; do
    if [ "$1" = add ]; then
      dpkg-divert --root="$root" --local --quiet --rename --divert "$program.real" --add "$program"
      mkdir -p "$root${program%/*}"
      printf '#!/bin/sh\nexit 0\n' >"$root$program"
      chmod 755 "$root$program"
    else
      rm -f "$root$program"
      dpkg-divert --root="$root" --local --quiet --rename --remove "$program"
    fi
  done
}

# lend PROGRAM...: use this machine's programs instead of the emulated ones, while this script runs.
lend() {
  local program here there
  [ "$(dpkg --print-architecture)" != arm64 ] || return 0
  mkdir -p "$root/lib64" "$root/usr/lib/x86_64-linux-gnu"
  mount --bind /lib64/ "$root/lib64"
  mount --bind /usr/lib/x86_64-linux-gnu "$root/usr/lib/x86_64-linux-gnu"
  for program in "$@"; do
    here=$(readlink -f "$(command -v "$program")") || continue
    there=$(chroot "$root" /bin/sh -c "readlink -f \"\$(command -v $program)\"") || continue
    if [ -f "$root$there" ]; then mount --bind "$here" "$root$there"; fi
  done
}

give_back() {
  [ "$(dpkg --print-architecture)" != arm64 ] || return 0
  sed -n "s|^[^ ]* \($root/[^ ]*\) .*|\1|p" /proc/self/mounts |
    grep -E "^$root/(usr|bin|sbin|lib64)" | tac | xargs -r -n 1 umount
  rmdir "$root/lib64" "$root/usr/lib/x86_64-linux-gnu"
}

step() { printf 'image: %4d s: %s\n' "$SECONDS" "$*" >&2; }

mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
mkdir -p "$root/boot/firmware" "$root/etc/default" "$root/etc/initramfs-tools/conf.d"
# Without a root device its type is unknown, and fsck would be missing from the initramfs.
printf 'FSTYPE=ext4\n' >"$root/etc/initramfs-tools/conf.d/edge-image"
# raspi-firmware would detect these on a Pi: a Pi 4 does not boot with a size of CMA.
printf '%s\n' ROOTPART=LABEL=rootfs CMA=0 'CONSOLES="tty0 ttyS1,115200"' \
  >"$root/etc/default/raspi-firmware"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
divert add
step "installing packages"
export DEBIAN_FRONTEND=noninteractive
apt-get -qq -y "${apt[@]}" --download-only install "${packages[@]}" >&2
step "unpacking"
dpkg --root="$root" --force-depends --force-unsafe-io --force-confold "${lean[@]}" \
  --unpack "$root"/var/cache/apt/archives/*.deb >&2
step "configuring"
# dpkg itself is the root's: this machine's treats architecture-independent packages as amd64.
lend "${lent[@]}"
chroot "$root" dpkg --force-confold --configure -a >&2
chroot "$root" dpkg --status "${packages[@]}" >/dev/null
divert remove
rm "$root/usr/sbin/policy-rc.d"

step "making the initramfs"
kernel=$(basename "$(echo "$root"/lib/modules/*)")
if mountpoint -q "$root/usr/bin/kmod"; then umount "$root/usr/bin/kmod"; fi # it is copied into the initramfs
TMPDIR=/var/tmp chroot "$root" mkinitramfs -o "/boot/initrd.img-$kernel" "$kernel" >&2
give_back
DEB_MAINT_PARAMS=configure chroot "$root" /etc/kernel/postinst.d/z50-raspi-firmware "$kernel" >&2
step "compiling Python"
# Omitted above: one process is enough, and only for the daemon's modules.
chroot "$root" bash -c 'python3 -m compileall -q -x "/(tests|f2py|distutils|typing)/" \
  --invalidation-mode unchecked-hash /usr/lib/python3/dist-packages/{numpy,cv2,systemd,rich}*' >&2
# Only for the build: a device can lose its power.
sed -i '/^force-unsafe-io$/d' "$root"/etc/dpkg/dpkg.cfg.d/*
rm -f "$root"/etc/apt/sources.list.d/*
printf '%s\n' "${SOURCES:?}" >"$root/etc/apt/sources.list"
step "done"
