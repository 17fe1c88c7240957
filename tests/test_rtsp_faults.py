"""Real-world RTSP cameras and hostile servers: the outcome of each start and each loss."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.broker import PrivateBroker
from tests.conftest import Daemon, Listener
from tests.quirky_rtsp import GOP, RtspCamera, endless, sequence_set, units
from tests.streams import frame_of, opened, refused, to_the_end

KEY_FRAME_S = 2.0
"""Between two key frames of the film that the camera sends."""
ROOM_BYTES = 100_000_000
Make = Callable[..., RtspCamera]


@pytest.fixture
def rtsp() -> Iterator[Make]:
    """Return a function that begins a camera; none outlives the test."""
    cameras: list[RtspCamera] = []

    def begin(*arguments: object, **options: object) -> RtspCamera:
        cameras.append(RtspCamera(*arguments, **options))  # type: ignore[arg-type]
        return cameras[-1]

    yield begin
    for camera in cameras:
        camera.close()


def peak_bytes(process: int) -> int:
    """Return the most memory that a process has had."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("join", [1, 11, 21])
def test_a_stream_joined_between_key_frames_starts_with_the_next(
    rtsp: Make, join: int, announced: bool
) -> None:
    """With parameter sets in the description or without; waiting for the key frame is no damage."""
    camera = rtsp(join=join, announced=announced)
    with opened(camera.url) as stream:
        assert (stream.mode.width, stream.mode.height) == (160, 120)
        sequences = [frame_of(stream).sequence for _ in range(10)]
        assert sequences == sorted(set(sequences))
        assert stream.corrupt_total == 0
    assert camera.sent < 2 * 30 + 20  # at most two key-frame intervals, sets unannounced


def test_a_stream_without_a_key_frame_is_one_error_line(rtsp: Make) -> None:
    """It names the setting that limits the wait."""
    pictures = [unit for unit in units(GOP.read_bytes()) if len(unit) == 2]
    for announced in (True, False):
        stream = units(GOP.read_bytes()) if announced else pictures
        camera = rtsp(stream, announced=announced, join=1, lost=range(0, 600, 30))
        error = refused(camera.url, stall_timeout_s=1.5)
        assert error.reason == "stalled"
        assert "camera.stall_timeout_s" in error.hint


@pytest.mark.parametrize("lost", ["the key frame", "all up to the next"])
def test_a_lost_key_frame_does_not_end_the_stream(rtsp: Make, lost: str) -> None:
    """What cannot be decoded until the next one is skipped, and counted; the stream is kept."""
    pictures = units(GOP.read_bytes())
    if lost == "the key frame":
        camera = rtsp(lost=(30,))
    else:
        camera = rtsp(pictures[:10] + [[b"\x41" + bytes(40)]] * 45 + pictures[30:])
    with opened(camera.url) as stream:
        until = time.monotonic() + 2.5 * KEY_FRAME_S
        frames = [frame_of(stream)]
        while time.monotonic() < until:
            frames.append(frame_of(stream))
        if lost != "the key frame":
            assert stream.corrupt_total >= 40
    assert camera.sent > 60
    assert len(frames) > 20


def giant(send: Callable[[bytes], None]) -> None:
    """Announce two gigabytes, and send them."""
    send(b"Content-Type: application/sdp\r\nContent-Length: 2000000000\r\n\r\n")
    endless(send, itertools.repeat(b"a=x:" + bytes(65000).replace(b"\0", b"y") + b"\r\n", 30000))


def crowd(send: Callable[[bytes], None]) -> None:
    """Describe a hundred thousand streams."""
    track = b"m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:t\r\n"
    text = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=a\r\nt=0 0\r\n" + track * 100_000
    send(b"Content-Type: application/sdp\r\nContent-Length: %d\r\n\r\n" % len(text) + text)


def heads(send: Callable[[bytes], None]) -> None:
    """Send a head that never ends."""
    endless(send, itertools.repeat(b"X-A: " + b"y" * 65000 + b"\r\n"))


def test_a_description_of_gigabytes_is_refused_at_once(rtsp: Make) -> None:
    """The line names the limit and what came; it takes no second."""
    begin = time.monotonic()
    error = refused(rtsp(describe=giant).url, stall_timeout_s=60.0)
    assert time.monotonic() - begin < 30.0
    assert error.what == "its description is too large"
    assert (error.expected, error.got) == ("at most 65536 bytes", "2000000000")


@pytest.mark.parametrize("attack", [giant, crowd, heads])
def test_a_hostile_server_takes_no_memory(
    broker: PrivateBroker,
    listen: Callable[[], Listener],
    daemon: Callable[..., Daemon],
    rtsp: Make,
    rgb: Path,
    attack: Callable[[Callable[[bytes], None]], None],
) -> None:
    """The daemon stays within 100 MB of what it was, answers, reports once, and takes the next."""
    usual, listener = usual_bytes(broker, daemon, rgb), listen()
    running = daemon(
        *("--source", rtsp(describe=attack).url, "--model", rgb, "--broker", broker.address),
        config="[camera]\nrequired = false\nstall_timeout_s = 3.0\nmax_reopens = 2\n"
        "[publish]\ntelemetry_interval_s = 0.5\n",
    )
    listener.wait_for(lambda: "online" in listener.payloads("availability"))
    count = len(listener.payloads("telemetry"))
    listener.wait_for(
        lambda: any(info["camera"]["state"] == "failed" for info in listener.payloads("info"))
    )
    listener.wait_for(lambda: len(listener.payloads("telemetry")) > count)
    assert peak_bytes(running.process.pid) - usual < ROOM_BYTES
    assert running.stop() == 0


def usual_bytes(broker: PrivateBroker, daemon: Callable[..., Daemon], rgb: Path) -> int:
    """Return the peak of a daemon whose camera is nowhere."""
    running = daemon(
        *("--source", "rtsp://127.0.0.1:1/a", "--model", rgb, "--broker", broker.address),
        config="[camera]\nrequired = false\nmax_reopens = 1\n",
    )
    running.wait_for_log("rtsp://127.0.0.1:1/a")
    peak = peak_bytes(running.process.pid)
    running.stop()
    return peak


@pytest.mark.parametrize("announced", [True, False])
def test_a_picture_beyond_the_limit_is_refused_before_it_is_decoded(
    rtsp: Make, announced: bool
) -> None:
    """67 million pixels and 16 references: 1.6 GB; the line names the limit and the key."""
    pictures = units(GOP.read_bytes())
    large = [
        [sequence_set(8192, 8192), *(nal for nal in unit if nal[0] & 31 != 7)] for unit in pictures
    ]
    error = refused(rtsp(large, announced=announced).url)
    assert error.what == "the picture is too large"
    assert error.expected == "at most 16000000 pixels (camera.max_pixels)"
    assert error.got == "8192 x 8192"


def test_a_stream_that_grows_beyond_its_room_is_given_up(rtsp: Make) -> None:
    """It begins small; 67 million pixels midway are not decoded, and no memory is taken."""
    pictures = units(GOP.read_bytes())
    large = [
        [sequence_set(8192, 8192), *(nal for nal in unit if nal[0] & 31 != 7)] for unit in pictures
    ]
    before = peak_bytes_of_this()
    with opened(rtsp(pictures[:30] + large * 20).url, stall_timeout_s=3.0) as stream:
        frame_of(stream)
        _, error = to_the_end(stream)
    assert error.reason in ("corrupt", "stalled")
    assert peak_bytes_of_this() - before < ROOM_BYTES


def peak_bytes_of_this() -> int:
    """Return the most memory that this process has had."""
    return peak_bytes(os.getpid())
