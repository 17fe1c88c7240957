#!/usr/bin/env bash
# Installs what the other verbs need; does nothing when nothing is missing.
#
#   deploy/setup.sh [dev|train|machine|system|runtime|measure|flash|image|homeassistant|package|install]
#
# dev    Debian's packages listed below, and deploy/lock/dev.txt into .venv
# train  deploy/lock/train.txt into .venv-train, for `make model` and the recipe's tests
# machine  what boots the virtual machine of `make test-cameras`
# flash  what `make flash` and `make deploy` run
# package  what packs the Debian package for every architecture: `make deb`
# install  what packs it for this machine alone: `make install`
# image  what makes images of cards, and boots them
# system  what boots the machines of `make test-system`
# runtime  what compiles and emulates the Pi's TFLite for its tests; measure: what else counts it
# homeassistant  deploy/lock/homeassistant.txt into .venv-homeassistant, for `make homeassistant`
#
# Debian's packages come through apt (with sudo where not root), Python's from PyPI, pinned with
# their checksums. PYTHON is the interpreter to build on; Debian's own by default.
set -euo pipefail

readonly PACKAGES=(
  python3-venv python3-dev gcc pkg-config libsystemd-dev # systemd-python is built here
  mosquitto mosquitto-clients                            # the private broker, and its client
  nodejs node-mqtt                                       # a subscriber in another language
  openssl shellcheck e2fsprogs man-db tzdata             # what tests look with; make lint
  mtools dosfstools e2fsprogs fdisk                      # small images of cards, for tests
  python3-shtab                                          # shell completion, for its test
  python3-gi gir1.2-gst-rtsp-server-1.0                  # a server of RTSP streams for tests,
  gstreamer1.0-plugins-{base,good,bad,ugly}              # with H.264
)
readonly CARD=(bmap-tools zstd xz-utils gzip util-linux openssh-client)
readonly PYTHON=${PYTHON:-/usr/bin/python3}
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }

install_packages() {
  local missing=() package root=()
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
      missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" -eq 0 ] || root=(sudo)
  say "installing Debian packages: ${missing[*]}"
  "${root[@]}" apt-get -q update
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -q -y --no-install-recommends install "${missing[@]}"
}

# make_venv FOLDER LOCK: a virtual environment that holds just what LOCK pins, and this project.
make_venv() {
  local folder=$1 lock=$2 want system=()
  want=$("$PYTHON" --version && cat "$lock" pyproject.toml deploy/setup.sh | sha256sum)
  if [ -f "$folder/.complete" ] && [ "$(cat "$folder/.complete")" = "$want" ]; then
    return 0
  fi
  # picamera2 and libcamera are the distribution's: seen only where they are installed.
  if [ -d /usr/lib/python3/dist-packages/picamera2 ]; then
    system=(--system-site-packages)
  fi
  say "making $folder from $lock ($("$PYTHON" --version))"
  rm -f "$folder/.complete"
  "$PYTHON" -m venv --clear "${system[@]}" "$folder"
  "$folder/bin/pip" install --disable-pip-version-check --no-deps --require-hashes -r "$lock"
  "$folder/bin/pip" install --disable-pip-version-check --no-deps --editable .
  printf '%s\n' "$want" >"$folder/.complete"
}

case ${1:-dev} in
  dev)
    install_packages "${PACKAGES[@]}" "${CARD[@]}"
    make_venv .venv deploy/lock/dev.txt
    ;;
  train)
    install_packages python3-venv libegl1 libgles2 # which mediapipe links
    make_venv .venv-train deploy/lock/train.txt
    ;;
  machine)
    install_packages qemu-system-x86 busybox-static kmod mmdebstrap e2fsprogs python3-venv
    ;;
  flash)
    install_packages "${CARD[@]}"
    ;;
  runtime)
    install_packages cmake ninja-build patch bzip2 xz-utils binutils g++-aarch64-linux-gnu \
      qemu-user
    ;;
  measure)
    install_packages qemu-user llvm
    ;;
  image)
    install_packages mmdebstrap qemu-user-static binfmt-support uidmap mtools dosfstools e2fsprogs fdisk \
      zstd bmap-tools dpkg-dev qemu-system-arm openssh-client device-tree-compiler
    ;;
  homeassistant)
    if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 13, 2))'; then
      say "$("$PYTHON" --version) is too old: Home Assistant needs 3.13.2 (Debian 13 has it)"
      exit 69
    fi
    install_packages python3-venv python3-dev gcc libffi-dev
    make_venv .venv-homeassistant deploy/lock/homeassistant.txt
    ;;
  system)
    install_packages systemd-container mmdebstrap e2fsprogs kmod mount \
      slirp4netns qemu-system-arm qemu-user-static # a network, arm64
    ;;
  package)
    install_packages dpkg-dev debhelper dh-python lintian binutils python3-pip python3-shtab \
      binutils-{x86-64,aarch64}-linux-gnu binutils-arm-linux-gnueabihf \
      gcc-arm-linux-gnueabihf # msgspec for 32 bits is compiled here
    ;;
  install)
    install_packages dpkg-dev debhelper dh-python binutils python3-pip python3-shtab
    if [ "$(dpkg --print-architecture)" = armhf ]; then
      install_packages gcc # for msgspec, which PyPI does not have for 32 bits
    fi
    ;;
  *)
    say "unknown set '$1'; expected dev, train, machine, system, runtime, measure, flash, image," \
      "homeassistant, package or install"
    exit 64
    ;;
esac
