#!/usr/bin/env bash
# make test-system: the package, installed and tested in booted Debians.
#
#   tests/system/run.sh 'SUITE ...' 'ARCH ...' [PYTEST_ARGUMENT ...]
#
# amd64 in systemd-nspawn, arm64 in QEMU. Needs root, or sudo: it mounts, and boots systemd.
# With WHEEL=pypi in the environment, amd64 packages carry PyPI's ai-edge-litert where build/dist has
# no wheel of `make runtime`, which takes a quarter of an hour; with OPENCV=pypi likewise PyPI's OpenCV where
# it has no wheel of `make opencv`, which takes twenty minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { printf 'system: %s\n' "$*"; }

suites=$1 arches=$2
shift 2
root=()
[ "$(id -u)" -eq 0 ] || root=(sudo)
if ! why=$("${root[@]}" unshare --mount --propagation private \
  sh -c 'mount -t tmpfs none /mnt && mkdir /mnt/group && mount -t cgroup2 none /mnt/group' 2>&1); then
  say "LEFT OUT, ALL OF IT: this machine allows no mounts: $why"
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
      carried=pypi
      say "$suite-$arch: carries PyPI's TensorFlow Lite, not a runtime of our own"
    else
      make --no-print-directory runtime ARCH="$arch" PY="$py"
    fi
    seeing=
    if compgen -G "build/dist/edge_opencv-*-linux_${wheel#*_}.whl" >/dev/null; then
      :
    elif [ "$arch-${OPENCV-}" = amd64-pypi ]; then
      seeing=pypi
      say "$suite-$arch: carries PyPI's OpenCV, not the one of \`make opencv\`: its memory is no figure"
    else
      make --no-print-directory opencv ARCH="$arch"
    fi
    make --no-print-directory deb ARCH="$arch" SUITE="$suite" WHEEL="$carried" OPENCV="$seeing"
    mapfile -t depends < <(.venv/bin/python -m tests.system.packages "$suite" "$arch")
    "${root[@]}" unshare --mount --propagation private \
      tests/system/build.sh "build/system/$suite-$arch" "$suite" "$arch" "${depends[@]}"
    machines+=("$suite-$arch")
  done
done
"${root[@]}" env EDGE_MACHINES="${machines[*]}" \
  .venv/bin/python -m pytest -m system -v -s tests/system "$@"
say "passed on ${machines[*]}, except what is reported as left out"
