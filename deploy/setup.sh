#!/usr/bin/env bash
# Installs what the other verbs need; does nothing when nothing is missing.
#
#   deploy/setup.sh [--list] SET ...
#
# The sets are in deploy/sets.sh.
#
# What is missing is printed with its size before anything is installed. Debian's packages come through
# apt (with sudo unless root), Python's from PyPI, pinned with their checksums. The next set-up repairs
# an interrupted one. --list prints the packages and locks of the sets, and checks nothing.
# PYTHON is the interpreter to build on; Debian's own by default.
set -euo pipefail

readonly PYTHON=${PYTHON:-/usr/bin/python3}
readonly PICAMERA2=/usr/lib/python3/dist-packages/picamera2
cd "$(dirname "$0")/.."

root=(env)
[ "$(id -u)" -eq 0 ] || root=(sudo env)

say() { printf 'setup: %s\n' "$*" >&2; }

fail() {
  say "${@:2}"
  exit "$1"
}

# shellcheck source=deploy/sets.sh
. deploy/sets.sh

# missing PACKAGE ...: print those that are not installed.
missing() {
  comm -23 <(printf '%s\n' "$@" | sort -u) <(
    { dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null || true; } |
      sed -n 's/^installed //p' | sort -u
  )
}

# parts FOLDER: print what an environment in FOLDER is made from, a line each: base, and every lock.
parts() {
  local version
  version=$("$PYTHON" --version 2>/dev/null) || version=none
  { echo "$PYTHON $version $PWD/$1 $(ls -d "$PICAMERA2" 2>/dev/null)" && declare -f make_venv add; } |
    sha256sum
  (cd deploy/lock && sha256sum -- *.txt)
}

# sound FOLDER: the last set-up of FOLDER was complete, and its parts are as they are now.
sound() { [ -f "$1/.complete" ] && ! grep -qvxFf <(parts "$1") "$1/.complete"; }

# announce PACKAGE ...: print how many packages apt would install for these, and their sizes.
announce() {
  local said
  said=$(LC_ALL=C apt-get --no-install-recommends --print-uris install "$@") ||
    fail 69 "apt cannot install these: $*"
  said=$(sed -nE 's/.* ([0-9]+) newly installed.*/\1 packages/p
    s/^Need to get (.*) of archives\./\1 to fetch/p
    s/^After this operation, (.*) of additional .*/\1 on disk/p' <<<"$said")
  say "adding Debian's $* (${said//$'\n'/, })"
}

# announce_lock FOLDER LOCK: the same for a lock; make lock has weighed it.
announce_lock() {
  local said
  said=$(awk -v lock="$2" -v machine="$(uname -m)" '$1 == lock && $3 == machine {
    print $4 " packages, " $5 " MB to fetch, " $6 " MB on disk" }' deploy/lock/sizes.txt)
  say "adding Python's deploy/lock/$2.txt to $1 (${said:-$(grep -c == "deploy/lock/$2.txt") packages, size unknown})"
}

# apt ARGUMENT ...: apt-get as root, which asks nothing and keeps no downloads.
apt() {
  "${root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 \
    -o APT::Keep-Downloaded-Packages=false --no-install-recommends "$@"
}

# make_venv FOLDER: an environment without packages, in which this project can be imported.
make_venv() {
  local folder=$1 site options=() systemd
  # picamera2 and libcamera are the distribution's: visible only where they are installed.
  [ ! -d "$PICAMERA2" ] || options=(--system-site-packages)
  "$PYTHON" -m venv --clear --without-pip "${options[@]}" "$folder"
  site=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  pwd >"$site/edge.pth"
  printf '#!/bin/bash\nexec %q -P -m edge "$@"\n' "$PWD/$folder/bin/python" >"$folder/bin/edge"
  chmod +x "$folder/bin/edge"
  # PyPI has its source alone, which needs a compiler.
  if systemd=$("$PYTHON" -Ic 'import os, systemd.daemon as d; print(os.path.dirname(d.__file__))' \
    2>/dev/null); then
    ln -s "$systemd" "$site/systemd"
  else
    say "left out: systemd's Python, which $PYTHON does not have; only a systemd service uses it"
  fi
}

# add FOLDER LOCK: install what LOCK pins, in a new environment unless this one is sound.
add() {
  local folder=$1 lock=$2 stamp=$1/.complete kept wheel options=()
  if ! sound "$folder"; then
    rm -f "$stamp"
    make_venv "$folder"
    parts "$folder" | sed -n 1p >"$stamp"
  fi
  kept=$(cat "$stamp")
  rm "$stamp" # until it is complete again
  [ "$lock" != run ] || options=(--no-cache-dir) # a first look leaves no second copy
  wheel=$(ls /usr/share/python-wheels/pip-*.whl)
  PYTHONPATH=$wheel "$folder/bin/python" -m pip install --disable-pip-version-check --no-compile \
    --no-deps --require-hashes "${options[@]}" -r "deploy/lock/$lock.txt"
  { echo "$kept" && parts "$folder" | grep " $lock\.txt$"; } >"$stamp.new"
  mv "$stamp.new" "$stamp"
}

if [ "${1-}" = --list ]; then
  list=1
  shift
fi
for set in "$@"; do
  need "$set"
done
if [ -n "${list-}" ]; then
  printf '%s\n' "${packages[@]}" "${locks[@]}" | sort -u
  exit
fi
mapfile -t absent < <(missing "${packages[@]}")
todo=()
for one in "${locks[@]}"; do
  folder=${one%:*} name=${one#*:}
  if ! sound "$folder" || ! grep -q " $name\.txt$" "$folder/.complete"; then
    # venv --clear would empty the target, which may be another clone's.
    [ ! -L "$folder" ] || fail 73 "$folder is a link, left as it is; hint: rm $folder, then again"
    todo+=("$one")
  fi
done
[ $((${#absent[@]} + ${#todo[@]})) -gt 0 ] || exit 0

if [ -x "$PYTHON" ] && ! "$PYTHON" -c "import sys; sys.exit(sys.version_info < ($python_min))"; then
  fail 69 "$("$PYTHON" --version) is too old; expected ${python_min//,/.} or newer"
fi
if [ ${#absent[@]} -gt 0 ]; then
  [ -n "$(command -v apt-get)" ] || fail 69 "this is not Debian; missing: ${absent[*]}"
  [ -n "$(command -v "${root[0]}")" ] || fail 77 "no sudo here; as root: apt-get install ${absent[*]}"
  if [ -n "$(dpkg --audit)" ]; then
    say "finishing an installation of Debian packages that was interrupted"
    "${root[@]}" DEBIAN_FRONTEND=noninteractive dpkg --configure -a || true
    apt --fix-broken install
  fi
  apt update
  announce "${absent[@]}"
fi
for one in "${todo[@]}"; do
  announce_lock "${one%:*}" "${one#*:}"
done
[ ${#absent[@]} -eq 0 ] || apt install "${absent[@]}"
for one in "${todo[@]}"; do
  add "${one%:*}" "${one#*:}"
done
