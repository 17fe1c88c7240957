"""A real RTSP server for the tests: GStreamer's, on loopback, as a process of its own.

Debian's Python runs it, whose ``gi`` no virtual environment sees; it needs nothing of ours:

    /usr/bin/python3 tests/rtsp_server.py --clip deploy/demo/clip.mp4
        [--login user:password [--digest]] [--port 8554]

It prints the port and serves until it is killed. Each client gets a pipeline of its own:

    /clip    the file as it is, H.264, in real time, to its end
    /colors  red, green, blue, each for ten frames, again and again
    /clock   the server's monotonic clock, in pixels: see ``clock_picture``
    /jpeg    red, as motion JPEG

``width``, ``height`` and ``fps`` are those of all but the first.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import gi  # type: ignore[import-not-found]

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # type: ignore[import-not-found]  # noqa: E402

BITS = 56
"""Of the clock: nanoseconds, enough for two years."""
COLORS = ((81, 90, 240), (145, 54, 34), (41, 240, 110))
COLOR_FRAMES = 10
ENCODER = (
    "x264enc tune=zerolatency speed-preset=ultrafast bitrate=4000 key-int-max={fps} threads=1"
    " ! video/x-h264,profile=baseline ! rtph264pay name=pay0 pt=96 config-interval=1"
)


def clock_picture(width: int, height: int, now_ns: int) -> bytes:
    """Return an I420 picture: ``now_ns`` as BITS blocks, eight to a row, white for 1."""
    side_x, side_y = width // 8, height // (BITS // 8)
    bits = [now_ns >> (BITS - 1 - bit) & 1 for bit in range(BITS)]
    luma = b""
    for top in range(0, BITS, 8):
        row = b"".join(bytes([235 if bit else 16]) * side_x for bit in bits[top : top + 8])
        luma += (row + bytes(width - len(row))) * side_y
    return luma + bytes(width * height - len(luma)) + b"\x80" * (width * height // 2)


def color_picture(width: int, height: int, number: int) -> bytes:
    """Return an I420 picture of one colour. Source of its values: BT.601, limited range."""
    y, u, v = COLORS[number // COLOR_FRAMES % len(COLORS)]
    chroma = (width // 2) * (height // 2)
    return bytes([y]) * (width * height) + bytes([u]) * chroma + bytes([v]) * chroma


class Drawn(GstRtspServer.RTSPMediaFactory):  # type: ignore[misc]
    """Draws each picture, ``draw(number)``, at the moment it is due."""

    def __init__(self, draw: Callable[[int], bytes], caps: str, fps: int) -> None:
        super().__init__()
        self.set_launch(
            f'( appsrc name=source is-live=true format=time do-timestamp=true caps="{caps}"'
            f" max-buffers=1 ! {ENCODER.format(fps=fps)} )"
        )
        self._draw, self._fps = draw, fps

    def do_configure(self, media: Any) -> None:
        """Push a picture whenever the next is due, on the pipeline's own thread."""
        due, number = time.monotonic(), 0

        def push(source: Any, _: int) -> None:
            nonlocal due, number
            due = max(due + 1 / self._fps, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
            source.emit("push-buffer", Gst.Buffer.new_wrapped(self._draw(number)))
            number += 1

        media.get_element().get_by_name("source").connect("need-data", push)


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", default="0")
    parser.add_argument("--clip", default="")
    parser.add_argument("--login", default="")
    parser.add_argument("--digest", action="store_true")
    parser.add_argument("--width", type=int, default=328)
    parser.add_argument("--height", type=int, default=248)
    parser.add_argument("--fps", type=int, default=20)
    args = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service(args.port)
    width, height, fps = args.width, args.height, args.fps
    caps = f"video/x-raw,format=I420,width={width},height={height},framerate={fps}/1"
    clip = GstRtspServer.RTSPMediaFactory()
    clip.set_launch(
        f'( filesrc location="{args.clip}" ! qtdemux ! h264parse'
        " ! rtph264pay name=pay0 pt=96 config-interval=1 )"
    )
    jpeg = GstRtspServer.RTSPMediaFactory()
    jpeg.set_launch(
        f"( videotestsrc is-live=true pattern=red ! {caps} ! jpegenc ! rtpjpegpay name=pay0 pt=26 )"
    )
    colors = Drawn(lambda number: color_picture(width, height, number), caps, fps)
    clock = Drawn(lambda _: clock_picture(width, height, time.monotonic_ns()), caps, fps)
    mounts = server.get_mount_points()
    if args.login:
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "user")
        name, _, password = args.login.partition(":")
        if args.digest:
            auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
            auth.add_digest(name, password, token)
        else:
            auth.add_basic(GstRtspServer.RTSPAuth.make_basic(name, password), token)
        server.set_auth(auth)
    for path, factory in (("/clip", clip), ("/colors", colors), ("/clock", clock), ("/jpeg", jpeg)):
        if args.login:
            permissions = GstRtspServer.RTSPPermissions()
            permissions.add_permission_for_role("user", "media.factory.access", True)
            permissions.add_permission_for_role("user", "media.factory.construct", True)
            factory.set_permissions(permissions)
        mounts.add_factory(path, factory)
    server.attach(None)
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
