"""Real-world films: endings, timestamps, names, and files that only look like a film."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.broker import PrivateBroker
from edge.camera import ffmpeg
from edge.camera.pace import LONGEST_S, Steps
from edge.errors import CameraError
from edge.frames import EndOfSource
from tests.conftest import ROOT, Daemon, Listener
from tests.quirky_rtsp import MEDIA
from tests.specs import UNFENCED
from tests.test_camera import open_source
from tests.test_rtsp_faults import peak_bytes, usual_bytes

SPARSE = 1_000_000_000


@pytest.mark.parametrize("name", ["raw.h264", "live.webm", "one.jpg", "jit.ts", "vfr.mp4"])
def test_every_film_loops(name: str) -> None:
    """Also one that cannot be rewound; each frame comes once in each pass."""
    once = frames(name, loop=False)
    assert once >= 1
    camera = open_source(MEDIA / name, loop=True)
    sequences: list[int] = []
    while len(sequences) < 3 * once + 1:
        frame = camera.read(1.0)
        assert frame is not None
        sequences.append(frame.sequence)
    camera.close()
    assert sequences == list(range(3 * once + 1))
    assert camera.corrupt_total == 0


@pytest.mark.parametrize(
    ("pace", "one_thread_pixels", "more"),
    [("realtime", 640 * 480, False), ("realtime", 640 * 480 - 1, True), ("fast", 640 * 480, True)],
)
def test_a_small_film_is_decoded_by_one_thread(
    pace: str, one_thread_pixels: int, more: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second one costs 9 MB; a large film, or one that is to be fast, has more all the same."""
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    monkeypatch.setattr(ffmpeg, "ONE_THREAD_PIXELS", one_thread_pixels)
    before = len(os.listdir("/proc/self/task"))
    camera = open_source(ROOT / "deploy" / "demo" / "clip.mp4", pace=pace)
    added = len(os.listdir("/proc/self/task")) - before
    camera.close()
    assert (added > 0) == more


def frames(name: str, loop: bool) -> int:
    """Return how many frames a film has."""
    camera, count = open_source(MEDIA / name, loop=loop), 0
    try:
        while camera.read(1.0):
            count += 1
    except EndOfSource:
        return count
    finally:
        camera.close()
    pytest.fail("silence instead of an end")


def test_a_film_of_one_frame_does_not_spin() -> None:
    """Its frame comes at its frame rate, again and again."""
    camera = open_source(MEDIA / "one.jpg", loop=True, pace="realtime")
    begin = time.monotonic()
    for _ in range(11):
        assert camera.read(5.0) is not None
    camera.close()
    assert time.monotonic() - begin >= 9 / camera.mode.fps


def test_a_film_is_shown_by_its_own_timestamps() -> None:
    """Eight frames a second apart, then sixty in two seconds."""
    camera = open_source(MEDIA / "vfr.mp4", pace="realtime")
    due_ns = []
    for _ in range(3):
        while (frame := camera.read(0.5)) is None:
            pass
        assert frame.pixels[120, 160, 2] > 200  # red
        due_ns.append(frame.captured_ns)
    camera.close()
    assert [round((b - a) / 1e9, 3) for a, b in itertools.pairwise(due_ns)] == [1.0, 1.0]


def test_an_impossible_frame_rate_is_no_reason_to_refuse() -> None:
    """OpenCV says 90000 frames a second: the timestamps count, and `camera.fps` for the rest."""
    camera = open_source(MEDIA / "jit.ts", pace="realtime", fps=12.5)
    assert camera.mode.fps == 12.5
    begin = time.monotonic()
    for _ in range(12):
        while camera.read(1.0) is None:
            pass
    camera.close()
    assert time.monotonic() - begin > 0.5


@pytest.mark.parametrize(
    ("stamps_ms", "steps_s"),
    [
        ([0, 100, 200, 1200], [0.04, 0.1, 0.1, 1.0]),
        ([0, 0, 0, 0], [0.04] * 4),  # there are none
        ([0, 100, 50, 150], [0.04, 0.1, 0.04, 0.1]),  # back
        ([0, 86_400_000, 86_400_010], [0.04, 0.04, 0.01]),  # a day on
        ([0, float("nan"), float("inf"), -3.7e20, 40], [0.04] * 5),
        ([0, 0.1, 0.2], [0.04] * 3),  # too close
        ([0, 10, 0, 0], [0.04, 0.01, 0.01, 0.01]),  # gone at the end
    ],
)
def test_timestamps_neither_stall_nor_spin(stamps_ms: list[float], steps_s: list[float]) -> None:
    """If two of them give no step, the step before counts, but at most the usual one."""
    steps = Steps(25.0)
    assert [round(steps.to(stamp), 6) for stamp in stamps_ms] == steps_s


def test_no_frame_lasts_longer_than_ten_seconds() -> None:
    """Whatever frame rate the film claims."""
    assert Steps(1e-9).to(0.0) == LONGEST_S


@pytest.mark.parametrize(
    "name",
    [
        *("a:b.mp4", "http:x.mp4", "frame%d.mp4", "-x.mp4", "new\nline.mp4", "no extension"),
        *(
            "concat:a|b.mp4",
            os.fsdecode(b"not utf-8 \xff\xfe.mp4"),
            "\u202egp4.mp4",
            "sp ace;|.mp4",
        ),
    ],
)
def test_a_film_may_have_any_name(name: str, tmp_path: Path) -> None:
    """FFmpeg finds no protocol in it, no pattern and no option; OpenCV does not crash."""
    shutil.copy(MEDIA / "vfr.mp4", tmp_path / name)
    code = UNFENCED + (
        "import os, sys\n"
        "from edge.camera import open_camera\n"
        "from tests.specs import camera_spec\n"
        "camera = open_camera(camera_spec(sys.argv[1], pace='fast'))\n"
        "sys.exit(camera.read(1.0).sequence)\n"
    )
    for place in (name, str(tmp_path / name)):
        done = subprocess.run(
            [sys.executable, "-c", code, place],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            check=False,
        )
        assert done.returncode == 0


@pytest.mark.parametrize("name", ["nul\0.mp4", "\ud800.mp4", "x" * 300, "a/" * 3000])
def test_an_impossible_file_name_is_refused_in_one_line(name: str) -> None:
    """Refused at once."""
    with pytest.raises(CameraError):
        open_source(name)


@pytest.mark.parametrize("kind", ["fifo", "socket", "device"])
def test_only_a_regular_file_is_a_film(kind: str, tmp_path: Path) -> None:
    """Anything else could block, or never end."""
    path = tmp_path / "film.mp4"
    with socket.socket(socket.AF_UNIX) as listening:
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "socket":
            listening.bind(str(path))
        else:
            path.symlink_to("/dev/zero")
        with pytest.raises(CameraError) as caught:
            open_source(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "no such source" not in str(caught.value)


LISTS = {
    "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9,\n{film}\n#EXT-X-ENDLIST\n",
    "b.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9,\n{film}\n#EXT-X-ENDLIST\n",
    "c.ffconcat": "ffconcat version 1.0\nfile 'film.mp4'\n",
    "d.mp4": "ffconcat version 1.0\nfile 'film.mp4'\n",
    "e.sdp": "v=0\no=- 1 1 IN IP4 127.0.0.1\ns=x\nt=0 0\nc=IN IP4 127.0.0.1\n"
    "m=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_films_is_no_film(name: str, tmp_path: Path) -> None:
    """Other files and addresses are not opened because a film names them."""
    film = shutil.copy(MEDIA / "vfr.mp4", tmp_path / "film.mp4")
    (tmp_path / name).write_text(LISTS[name].format(film=film))
    with pytest.raises(CameraError, match="not a video that can be decoded"):
        open_source(tmp_path / name)


def box(kind: bytes, *content: bytes, size: int | None = None) -> bytes:
    """Return an atom of MP4; ``size`` is what it claims to have."""
    inside = b"".join(content)
    return struct.pack(">I4s", len(inside) + 8 if size is None else size, kind) + inside


def mp4(kind: bytes, head: bytes) -> bytes:
    """Return a film whose table ``kind`` claims to have a gigabyte; the rest of it is a hole."""
    g = SPARSE
    track = box(b"tkhd", struct.pack(">IIIII", 7, 0, 0, 1, 0), bytes(64))
    media = box(b"mdhd", bytes(12), struct.pack(">II", 1000, 1000), bytes(4))
    media += box(b"hdlr", bytes(8), b"vide", bytes(13))
    table = box(b"minf", box(b"stbl", box(kind, head, size=g), size=g + 8), size=g + 16)
    moov = box(b"trak", track, box(b"mdia", media, table, size=g + 200), size=g + 400)
    return box(b"ftyp", b"isom\0\0\2\0isom") + box(b"moov", moov, size=g + 600)


def avi_chunk() -> bytes:
    """Return a film whose first frame claims to have a gigabyte."""

    def chunk(kind: bytes, content: bytes, size: int | None = None) -> bytes:
        return kind + struct.pack("<I", len(content) if size is None else size) + content

    head = chunk(b"avih", struct.pack("<14I", 40000, 0, 0, 16, 9, 0, 1, 0, 320, 240, 0, 0, 0, 0))
    stream = chunk(b"strh", b"vidsMJPG" + struct.pack("<10I", 0, 0, 0, 1, 25, 0, 9, 0, 0, 0))
    stream += chunk(b"strf", struct.pack("<IiiHH4s5I", 40, 320, 240, 1, 24, b"MJPG", *bytes(5)))
    lists = chunk(b"LIST", b"hdrl" + head + chunk(b"LIST", b"strl" + stream))
    movie = chunk(b"LIST", b"movi" + chunk(b"00dc", b"", SPARSE), SPARSE + 100)
    return chunk(b"RIFF", b"AVI " + lists + movie, 2 * SPARSE)


def tagged() -> bytes:
    """Return a film with half a million tags, 20 MB that become 300."""

    def element(name: str, *content: bytes) -> bytes:
        inside = b"".join(content)
        return bytes.fromhex(name) + struct.pack(">Q", len(inside) | 1 << 56) + inside

    head = element("1A45DFA3", element("4282", b"matroska"))
    video = element("E0", element("B0", b"\1\0"), element("BA", b"\1\0"))
    track = element(
        "AE", element("D7", b"\1"), element("83", b"\1"), element("86", b"V_VP8"), video
    )
    tags = (
        element("67C8", element("45A3", b"K%d" % number), element("4487", b"v"))
        for number in range(500_000)
    )
    tag = element("1254C367", element("7373", element("63C0"), *tags))
    return head + element("18538067", element("1654AE6B", track), tag)


HOSTILE = {
    "stts.mp4": lambda: mp4(b"stts", struct.pack(">II", 0, SPARSE // 8)),
    "stco.mp4": lambda: mp4(b"stco", struct.pack(">II", 0, SPARSE // 4)),
    "chunk.avi": avi_chunk,
    "tags.mkv": tagged,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_film_takes_no_memory(name: str, tmp_path: Path) -> None:
    """Within 100 MB of the usual, and one line; each took 240 to 1,960 MB."""
    film = tmp_path / name
    film.write_bytes(HOSTILE[name]())
    if name != "tags.mkv":
        os.truncate(film, 2 * SPARSE)
    code = UNFENCED + (
        "import sys\n"
        "from pathlib import Path\n"
        "from edge.camera import open_camera\n"
        "from tests.specs import camera_spec\n"
        "def peak():\n"
        "    status = Path('/proc/self/status').read_text()\n"
        "    return int(status.partition('VmHWM:')[2].split()[0])\n"
        "before = peak()\n"
        "try:\n"
        "    open_camera(camera_spec(sys.argv[1])).read(1.0)\n"
        "except OSError as exc:\n"
        "    print(peak() - before, exc)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, film], capture_output=True, text=True, check=True, cwd=ROOT
    )
    grown_kib, _, line = done.stdout.partition(" ")
    assert int(grown_kib) * 1024 < 100_000_000
    assert re.search(r"not a video that can be|no frame can be|picture is too large", line)
    assert line.count("\n") == 1


def test_a_daemon_shows_a_film_again_and_again(
    broker: PrivateBroker, listen: Callable[[], Listener], daemon: Callable[..., Daemon], rgb: Path
) -> None:
    """One that cannot be rewound once ended it; it goes on, within its usual memory."""
    usual, listener = usual_bytes(broker, daemon, rgb), listen()
    running = daemon(
        *("--source", MEDIA / "raw.h264", "--model", rgb, "--broker", broker.address),
        config="[smoothing]\nwindow = 2\nhold_frames = 1\n",
    )
    listener.wait_for(lambda: len(listener.payloads("event")) >= 8)
    assert peak_bytes(running.process.pid) - usual < 100_000_000
    assert running.stop() == 0


def test_a_film_beyond_the_limit_names_limit_and_key() -> None:
    """In one line."""
    with pytest.raises(CameraError) as caught:
        open_source(MEDIA / "vfr.mp4", max_pixels=1000)
    assert str(caught.value).endswith(
        "the picture is too large: expected at most 1000 pixels (camera.max_pixels), got 320 x 240"
    )
