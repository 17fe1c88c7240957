#!/usr/bin/env bash
# make test-system: the package, installed in booted Debians, and what must be seen of it there.
#
#   tests/system/run.sh 'SUITE ...' 'ARCH ...' [PYTEST_ARGUMENT ...]
#
# amd64 in systemd-nspawn, arm64 in QEMU. Needs root, or sudo: it mounts, and boots systemd.
# With WHEEL=pypi in the environment amd64 packages carry PyPI's ai-edge-litert, as pinned in
# deploy/lock/dev.txt, where there is no wheel of one's own, which takes a quarter of an hour.
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { printf 'system: %s\n' "$*"; }

# from_pypi PYTHON: print the path of PyPI's wheel of TensorFlow Lite, fetched by its checksum.
from_pypi() {
  local folder=build/system/pypi
  mkdir -p "$folder"
  sed -n '/^ai-edge-litert==/,/^[^ ].*==/{/^ai-edge-litert/p;/^ /p}' deploy/lock/dev.txt \
    >"$folder/requirements.txt"
  .venv/bin/pip --disable-pip-version-check download --quiet --no-deps --require-hashes \
    --only-binary=:all: --python-version "$1" --platform=manylinux_2_{17,27,28,34}_x86_64 \
    --dest "$folder/$1" --requirement "$folder/requirements.txt"
  ls "$folder/$1"/ai_edge_litert-*.whl
}

suites=$1 arches=$2
shift 2
root=()
[ "$(id -u)" -eq 0 ] || root=(sudo)
if ! why=$("${root[@]}" unshare --mount --propagation private \
  sh -c 'mount -t tmpfs none /mnt && mkdir /mnt/group && mount -t cgroup2 none /mnt/group' 2>&1); then
  say "LEFT OUT, ALL OF IT: this machine lets nobody mount a file system: $why"
  exit 0
fi
machines=()
for suite in $suites; do
  for arch in $arches; do
    case $suite-$arch in
      bookworm-amd64) wheel='cp311-*_x86_64' py=3.11 ;;
      bookworm-arm64) wheel='cp311-*_aarch64' py=3.11 ;;
      trixie-amd64) wheel='cp313-*_x86_64' py=3.13 ;;
      trixie-arm64) wheel='cp313-*_aarch64' py=3.13 ;;
      *)
        say "no machine $suite-$arch; expected bookworm or trixie, amd64 or arm64" >&2
        exit 64
        ;;
    esac
    carried=
    if compgen -G "build/dist/tflite_runtime-*-$wheel.whl" >/dev/null; then
      :
    elif [ "$arch-${WHEEL-}" = amd64-pypi ]; then
      carried=$(from_pypi "$py")
      say "$suite-$arch: carries $(basename "$carried"), not a runtime of our own"
    else
      make --no-print-directory runtime ARCH="$arch" PY="$py"
    fi
    make --no-print-directory deb ARCH="$arch" SUITE="$suite" WHEEL="$carried"
    mapfile -t depends < <(.venv/bin/python -m tests.system.packages "$suite" "$arch")
    "${root[@]}" unshare --mount --propagation private \
      tests/system/build.sh "build/system/$suite-$arch" "$suite" "$arch" "${depends[@]}"
    machines+=("$suite-$arch")
  done
done
"${root[@]}" env EDGE_MACHINES="${machines[*]}" \
  .venv/bin/python -m pytest -m system -v -s tests/system "$@"
say "seen on ${machines[*]}: all of it, but for what it says is left out"
