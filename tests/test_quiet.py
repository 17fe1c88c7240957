"""Decoders are silenced, the log is not; and OpenCV has a limit of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from edge.pictures.quiet import quiet
from tests.conftest import ROOT


def test_stderr_comes_back(capfd: pytest.CaptureFixture[str]) -> None:
    """When the last of several threads has left, also after an error."""
    inside, go_on = threading.Event(), threading.Event()

    def other() -> None:
        with quiet():
            inside.set()
            go_on.wait()

    def failing() -> None:
        with quiet():
            thread.start()
            inside.wait()
            os.write(2, b"one")
            raise ValueError("wrong")

    thread = threading.Thread(target=other)
    with pytest.raises(ValueError, match="wrong"):
        failing()
    os.write(2, b"two")
    go_on.set()
    thread.join()
    os.write(2, b"three")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(100):
        with quiet():
            os.write(2, b"four")
    assert len(os.listdir("/proc/self/fd")) == before
    assert capfd.readouterr().err == "three"


@pytest.mark.parametrize("closed", ["", "import os; os.close(2); "])
def test_the_log_is_not_silenced(closed: str) -> None:
    """It has a descriptor of its own; without any stderr, nothing fails."""
    code = (
        f"{closed}import logging, os; from edge.daemon.logs import configure; configure();"
        "from edge.pictures.quiet import quiet\n"
        "with quiet(): logging.warning('still here'); print(end='done')"
    )
    env = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=env, check=True
    )
    assert done.stdout == "done"
    assert ("still here" in done.stderr) == (not closed)


def test_opencv_refuses_what_the_config_could_not_allow() -> None:
    """A second limit, for code that decodes without reading the header first."""
    code = (
        "import sys; sys.argv = ['edge', 'schema']; from edge.__main__ import main; main();"
        "import cv2, numpy; from tests.bombs import png\n"
        "try: cv2.imdecode(numpy.frombuffer(png(21_000, 21_000), numpy.uint8), 1)\n"
        "except cv2.error as exc: print('refused', 'MAX_IMAGE_PIXELS' in str(exc))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.endswith("refused True\n")
