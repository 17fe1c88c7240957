#!/usr/bin/env bash
# Builds the machine of the camera tests: Debian 13's kernel and a root file system with its
# libcamera, picamera2, and what this program runs on.
#
#   tests/vm/build.sh FOLDER
#
# Makes FOLDER/kernel (an unpacked package, nothing of it runs here) and FOLDER/root.ext4; does
# nothing where both are there and made from what stands in this folder. Packages come from the
# mirror that this machine's apt is configured with, Python's from PyPI, pinned with checksums.
set -euo pipefail

readonly PACKAGES=(
  python3-libcamera libcamera-tools libcamera-ipa v4l-utils
  # of picamera2, as far as anything here uses it
  python3-prctl python3-pil python3-piexif python3-jsonschema python3-libarchive-c python3-tqdm
  # of this program and its tests
  python3-numpy python3-msgspec python3-paho-mqtt python3-rich python3-systemd python3-pytest
  python3-hypothesis python3-protobuf
)
readonly SUITE=trixie
mkdir -p "$1"
folder=$(cd "$1" && pwd)
cd "$(dirname "$0")"
want=$(cat build.sh requirements.txt | sha256sum)

say() { printf 'vm: %s\n' "$*" >&2; }

# sources: this machine's own apt sources of Debian, for the other suite.
sources() {
  local own file
  # shellcheck source=/dev/null
  own=$(. /etc/os-release && echo "$VERSION_CODENAME")
  for file in /etc/apt/sources.list.d/*.sources; do
    if [ -f "$file" ] && grep -qE "^Suites:.* $own( |\$)" "$file"; then
      sed "s/\b$own\b/$SUITE/g" "$file"
      return
    fi
  done
  find /etc/apt/sources.list /etc/apt/sources.list.d -name '*.list' -exec \
    sed -nE "/^deb .* $own( |[-\/])/ s/\b$own\b/$SUITE/gp" {} +
}

if [ -f "$folder/.complete" ] && [ "$(cat "$folder/.complete")" = "$want" ]; then
  exit 0
fi
if [ "$(dpkg --print-architecture)" != amd64 ]; then
  say "only made on x86-64, this is $(dpkg --print-architecture)"
  exit 69
fi
say "making $folder ($SUITE: kernel, libcamera, picamera2)"
rm -rf "$folder/.complete" "$folder/kernel" "$folder/python" "$folder/root.ext4"
mkdir "$folder/kernel"

platforms=()
for minor in $(seq 17 41); do platforms+=(--platform "manylinux_2_${minor}_x86_64"); done
../../.venv/bin/pip install --quiet --disable-pip-version-check --target "$folder/python" \
  --python-version 3.13 --implementation cp --abi cp313 --abi abi3 --abi none \
  "${platforms[@]}" --platform manylinux2014_x86_64 --only-binary :all: \
  --no-deps --require-hashes -r requirements.txt

# The package of the kernel is unpacked, not installed: no initramfs is made of it.
export KERNEL=$folder/kernel PYTHON_PACKAGES=$folder/python IMAGE=$folder/root.ext4
cat >"$folder/hook.sh" <<'END'
set -eu
root=$1
cp -r "$PYTHON_PACKAGES/." "$root/usr/local/lib/python3.13/dist-packages"
cd "$KERNEL"
export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG
name=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9]\)/\1/p')
apt-get -q download "$name"
dpkg-deb -x ./*.deb .
rm ./*.deb
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
sed -n "s|.* \($root/[^ ]*\) .*|\1|p" /proc/self/mounts | sort -r | xargs umount
mke2fs -q -t ext4 -O ^has_journal -m 0 -d "$root" "$IMAGE" 1500M
END
mmdebstrap --quiet --variant=minbase --include="$(IFS=, && echo "${PACKAGES[*]}")" \
  --aptopt='APT::Install-Recommends "false"' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/man/*' --skip=cleanup/apt,cleanup/reproducible \
  --customize-hook="unshare --mount sh '$folder/hook.sh' \"\$1\"" \
  $SUITE - --format=null - < <(sources)
rm -r "$folder/python" "$folder/hook.sh"
printf '%s\n' "$want" >"$folder/.complete"
