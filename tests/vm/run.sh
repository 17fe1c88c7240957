#!/usr/bin/env bash
# make test-cameras: V4L2 and libcamera themselves, in a virtual machine that is built first.
#
#   [OPTIONAL=1] tests/vm/run.sh [CHECK ...]
#
# With OPTIONAL=1, as in CI, a machine that cannot be built is LEFT OUT, loudly, with status 0; a test
# that fails in it never is. FOLDER is where the machine is built, build/vm by default.
set -euo pipefail
cd "$(dirname "$0")/../.."

# A webcam and an HDMI input, at /dev/video0.
readonly VIVID='vivid n_devs=1 node_types=0x1 num_inputs=2 input_types=0xc'
readonly FOLDER=${FOLDER:-build/vm}

# build: what boots the machine, and the machine.
build() {
  deploy/setup.sh machine && tests/vm/build.sh "$FOLDER"
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
build 2>&1 | tee "$log" >&2 || status=$?
if [ "$status" -ne 0 ]; then
  why=$(grep -v '^ *$' "$log" | tail -n 1) || why="status $status"
  if [ "${OPTIONAL-}" = 1 ]; then
    echo "LEFT OUT: cameras in a virtual machine: $why"
    exit 0
  fi
  echo "vm: the machine cannot be built: $why" >&2
  exit "$status"
fi
exec .venv/bin/python -m tests.vm.machine --kernel "$FOLDER/kernel" --root "$FOLDER/root.ext4" \
  --driver "$VIVID" --folder . --cwd . -- tests/vm/checks.sh "$@"
