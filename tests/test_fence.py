"""The limit on the memory of native code, kept by the kernel for the whole process."""

from __future__ import annotations

import resource
import subprocess
import sys

import numpy as np
import pytest

from edge import fence
from edge.camera.ffmpeg import open_film
from edge.fence import PIXEL_BYTES, RESERVE_BYTES, ROOM_BYTES, Fence
from tests.conftest import ROOT
from tests.specs import camera_spec
from tests.streams import CLIP

SLACK = 9_000_000
"""The kernel counts the main thread's stack, 8 MB at most, elsewhere."""

MAPPED = 34_000_000
"""More than malloc ever serves from what was freed before."""


def can_have(size: int) -> bool:
    """Return whether so many bytes can be allocated now."""
    try:
        np.empty(size, np.uint8)
    except MemoryError:
        return False
    return True


@pytest.mark.parametrize("check", ["beyond", "pictures", "little", "widest", "model"])
def test_the_limit_is_kept_by_the_kernel(check: str) -> None:
    """Each in a process of its own: other tests' threads give their stacks back meanwhile."""
    code = f"from edge.fence import Fence; from tests.test_fence import {check} as check;"
    done = subprocess.run(
        [sys.executable, "-c", f"{code} check(Fence())"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def beyond(standing: Fence) -> None:
    """Within it, as usual; once it is lifted, as before."""
    assert can_have(ROOM_BYTES // 2)
    assert not can_have(ROOM_BYTES + SLACK)
    standing.lift()
    standing.lift()
    assert can_have(4 * ROOM_BYTES)
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY


def pictures(standing: Fence) -> None:
    """A decoder of 4K gets what it needs, and no more."""
    pixels = 3840 * 2160
    standing.widen(pixels)
    assert can_have(PIXEL_BYTES * pixels)
    assert not can_have(PIXEL_BYTES * pixels + ROOM_BYTES + SLACK)


def little(standing: Fence) -> None:
    """Before an allocation fails; the rest of the process gets the reserve again."""
    assert not standing.is_close()
    held = np.empty(ROOM_BYTES - RESERVE_BYTES // 2, np.uint8)
    assert not can_have(MAPPED)
    assert standing.is_close()
    assert can_have(MAPPED)
    assert held.size


def widest(standing: Fence) -> None:
    """A camera that is left behind does not narrow the next one."""
    other = Fence()
    other.widen(10_000_000)
    assert can_have(PIXEL_BYTES * 10_000_000)
    other.lift()
    assert not can_have(2 * ROOM_BYTES)


def model(standing: Fence) -> None:
    """What it takes does not count against the stream's room."""
    with fence.lifted():
        model = np.empty(3 * ROOM_BYTES, np.uint8)
    assert model.size
    assert not standing.is_close()
    assert can_have(ROOM_BYTES // 2)
    assert not can_have(2 * ROOM_BYTES)


def test_the_fence_of_a_forgotten_source_is_lifted() -> None:
    """A film that was not closed would limit the process for ever."""
    for other in tuple(fence._fences):  # of a camera whose server still holds its last grab
        other.lift()
    film = open_film(str(CLIP), camera_spec(CLIP), "film")
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] != resource.RLIM_INFINITY
    del film
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY


def test_without_a_fence_no_limit_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial of a model sets a limit of its own, which loading it must not lift."""
    touched = []
    monkeypatch.setattr(fence, "_outside", None)
    monkeypatch.setattr(resource, "setrlimit", lambda *limits: touched.append(limits))
    with fence.lifted():
        assert not touched
    assert not touched
