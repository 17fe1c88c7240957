#!/bin/sh
# Runs in the machine: every test that needs it, or the files that are named.
# libcamera 0.4's virtual camera never sets the status of its buffers, and picamera2 drops those of
# which it is not 0: fresh memory is filled with zeros here.
export GLIBC_TUNABLES=glibc.malloc.tcache_count=0:glibc.malloc.perturb=255
export LIBCAMERA_LOG_LEVELS='*:ERROR'
export PYTHONDONTWRITEBYTECODE=1
# The package's own OpenCV where `make opencv` has built it, else PyPI's.
wheel=$(find build/dist -name 'edge_opencv-*_x86_64.whl' 2>/dev/null | sort | tail -n 1)
if [ -n "$wheel" ]; then
  python3 -m zipfile -e "$wheel" /tmp/opencv
  export PYTHONPATH=/tmp/opencv
fi
python3 -c 'import cv2; print("cameras: OpenCV", cv2.__version__, cv2.__file__)'
[ $# -gt 0 ] || set -- tests/vm/inside_*.py
status=0
for file in "$@"; do # each in a process of its own: libcamera keeps hold of every camera it has seen
  python3 -m pytest -c /dev/null --noconftest --rootdir . -p no:cacheprovider -q -rs \
    --durations 3 "$file" || status=$?
done
exit $status
