"""Measures the cost of a frame of each source, up to the model's input: `make bench-sources`.

Each source shows the same moving photograph at 640x480, 1280x720 and 1920x1080, 15 frames a second;
`edge bench --capture` measures it as a process of its own, in turn, and the median of some runs is
printed as a table. V4L2 and the Pi's camera hand their frames over without work of this process:
their rows begin with a frame in memory, as the driver or the ISP leaves it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.camera import jpeg
from edge.config import ModelConfig
from edge.frames import AS_IT_IS, Frame
from edge.model import engine as engines
from edge.pictures.picture import reduction
from tests.conftest import ROOT
from tests.streams import Pictures, RtspServer
from tests.test_geometry import layouts

SIZES: Final = ((640, 480), (1280, 720), (1920, 1080))
FPS: Final = 15
FRAMES: Final = 45
ENCODE: Final = """
import sys, gi
gi.require_version("Gst", "1.0")
from gi.repository import Gst
Gst.init(None)
pipeline = Gst.parse_launch(
    f'multifilesrc location="{sys.argv[1]}/%04d.jpg" caps=image/jpeg,framerate={sys.argv[3]}/1'
    " ! jpegdec ! videoconvert ! video/x-raw,format=I420 ! x264enc key-int-max=15 bitrate=4000"
    f' ! video/x-h264,profile=main ! mp4mux ! filesink location="{sys.argv[2]}"')
pipeline.set_state(Gst.State.PLAYING)
message = pipeline.get_bus().timed_pop_filtered(
    Gst.CLOCK_TIME_NONE, Gst.MessageType.EOS | Gst.MessageType.ERROR)
pipeline.set_state(Gst.State.NULL)
sys.exit(message.type == Gst.MessageType.ERROR and str(message.parse_error()))
"""


def pictures(width: int, height: int) -> list[NDArray[np.uint8]]:
    """Return a photograph that moves."""
    read = cv2.imread(str(ROOT / "deploy" / "demo" / "pictures" / "dog_plasma_retriever.jpg"))
    assert read is not None
    large = cv2.resize(read, (width + FRAMES * 4, height + FRAMES * 2))
    return [
        np.asarray(large[2 * i : 2 * i + height, 4 * i : 4 * i + width], np.uint8)
        for i in range(FRAMES)
    ]


def capture(source: str, size: tuple[int, int], seconds: float, folder: Path) -> float:
    """Return the CPU milliseconds of a frame of ``source``, of all the daemon's threads."""
    config = folder / "edge.toml"
    config.write_text(f"[camera]\nwidth = {size[0]}\nheight = {size[1]}\nfps = {FPS}\n")
    command = [sys.executable, "-m", "edge", "bench", "--capture", str(seconds)]
    done = subprocess.run(
        [*command, "--source", source, "--config", str(config)],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["frames"] >= 5, told
    return float(told["cpu_ms"])


def in_memory(work: Callable[[], object], seconds: float) -> float:
    """Return the CPU milliseconds of one call, each after the caches have seen other work."""
    other, spent, calls = np.zeros(4_000_000, np.uint8), 0, 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        other += 1
        begin = time.process_time_ns()
        work()
        spent += time.process_time_ns() - begin
        calls += 1
    return spent / calls / 1e6


def row(size: tuple[int, int], seconds: float, folder: Path) -> dict[str, float]:
    """Return the cost of every source at one size, measured once."""
    engine = engines.start(ModelConfig(threads=1))
    useful = engine.preprocess.useful(AS_IT_IS)
    shown = pictures(*size)
    sent = [cv2.imencode(".jpg", picture)[1] for picture in shown]
    for index, picture in enumerate(sent):
        (folder / f"{index:04d}.jpg").write_bytes(picture.tobytes())
    film = folder / "film.mp4"
    arguments = ["-c", ENCODE, str(folder), str(film), str(FPS)]
    subprocess.run(["/usr/bin/python3", *arguments], check=True)
    costs = {
        "synthetic": capture("synthetic", size, seconds, folder),
        "folder of JPEG": capture(str(folder), size, seconds, folder),
        "film, H.264": capture(str(film), size, seconds, folder),
    }
    web = Pictures([picture.tobytes() for picture in sent], interval_s=1 / FPS, again=True)
    rtsp = RtspServer("--clip", str(film))
    try:
        costs["HTTP, motion JPEG"] = capture(web.url, size, seconds, folder)
        costs["RTSP, H.264"] = capture(rtsp.url("clip"), size, min(seconds, 2.5), folder)
    finally:
        web.close()
        rtsp.close()

    def fill(frame: Frame) -> None:
        engine.preprocess(frame, engine.classifier.input_view())

    bgr = np.ascontiguousarray(shown[0])
    made = layouts(np.ascontiguousarray(bgr[:, :, ::-1]))
    for name, layout in (("YUYV", "yuyv"), ("NV12", "nv12")):
        frame = Frame(0, 0, made[layout], layout)  # type: ignore[index, arg-type]
        costs[f"V4L2, {name}"] = in_memory(lambda f=frame: fill(f), seconds / 4)  # type: ignore[misc]
    content = np.frombuffer(sent[0].tobytes(), np.uint8)
    reduced = reduction(*size, useful)

    def decode() -> None:
        pixels = jpeg.decode(content, reduced)
        assert pixels is not None
        fill(Frame(0, 0, pixels, "bgr"))

    costs["V4L2, MJPG"] = in_memory(decode, seconds / 4)
    costs["BGR in memory"] = in_memory(lambda: fill(Frame(0, 0, bgr, "bgr")), seconds / 4)
    return costs


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=6.0, help="for each source and run")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    table: dict[tuple[int, int], list[dict[str, float]]] = {size: [] for size in SIZES}
    for _ in range(args.runs):
        for size in SIZES:
            with tempfile.TemporaryDirectory() as folder:
                table[size].append(row(size, args.seconds, Path(folder)))
    print("| CPU, ms a frame | " + " | ".join(f"{w}x{h}" for w, h in SIZES) + " |")
    print("|---" * (1 + len(SIZES)) + "|")
    for name in table[SIZES[0]][0]:
        cells = (f"{median(run[name] for run in table[size]):.2f}" for size in SIZES)
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
