"""What a frame costs on emulated arm64: instructions, modelled Cortex-A72 cycles, bytes moved.

The loops of loops.py run under qemu-user in an unpacked Debian 12, with our wheels for arm64, and
are counted and modelled as deploy/runtime/measure.py does it for the runtimes alone.

    python -m deploy.peers.emulated LOOP FRAMES.npy    inside the emulated Python
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, Final

WARM: Final = 3
"""Frames before the one that is counted, between two marks: see deploy/runtime/count.c."""
PACKAGES: Final = {"msgspec": ["msgspec==0.20.0"], "pillow": ["pillow==12.0.0"]}
"""Of the guest: what the pipeline, and what the label_image loop imports."""


def guest(arguments: list[str]) -> None:
    """Run a loop inside the emulated Python; mark its last frame."""
    import os

    import cv2
    import numpy as np

    from deploy.peers.loops import LOOPS

    name, file = arguments
    cv2.setNumThreads(1)
    loop = LOOPS[name]("tflite_runtime", 1)
    frames = np.load(file)
    for index in range(WARM):
        loop.frame(frames[index])
    os.getppid()
    label = loop.frame(frames[WARM])
    os.getppid()
    print(label)


class Emulated:
    """The emulated machine with everything that the loops import. Raises BuildError.

    folder  for the frames and for what is counted
    """

    def __init__(self, folder: Path) -> None:
        import numpy as np

        from deploy.opencv import pack
        from deploy.peers import shapes
        from deploy.runtime import measure, peers
        from deploy.runtime.emulated import add_wheels, make_root
        from deploy.runtime.pins import BuildError

        wheel = peers.ROOT / "build" / "dist" / pack.file_name("arm64")
        if not wheel.exists():
            raise BuildError(69, "no such wheel", where=wheel.name, hint="make opencv ARCH=arm64")
        more = [*pack.LIBRARIES.values()]
        self._guest = make_root(peers.EMULATED / "loops", "bookworm", "arm64", more)
        runtime = peers.ours(self._guest)
        where = peers.folder(self._guest)
        self._paths = [
            *runtime.paths,
            peers.unzip(wheel, where / "opencv"),
            *(add_wheels(where / name, self._guest, given) for name, given in PACKAGES.items()),
            peers.ROOT,
        ]
        self._frames, self._blocks = folder / "frames.npy", folder / "blocks"
        self.version = runtime.title
        self._plugin = measure.plugin()
        np.save(self._frames, np.stack(shapes.held()[: WARM + 1]))

    def measure(self, loop: str) -> dict[str, Any]:
        """Return the figures of a frame; {"refused": reason} where the loop does not run."""
        from deploy.runtime import model_a72

        done = self._guest.run(
            ["-m", "deploy.peers.emulated", loop, str(self._frames)],
            self._paths,
            ["-plugin", f"{self._plugin},blocks={self._blocks},mark=173"],
        )
        marks = [int(number) for number in re.findall(r"MARK (\d+)", done.stderr)]
        if done.returncode or not marks:
            return {"refused": (done.stderr.strip().splitlines() or ["no mark"])[-1]}
        spent = model_a72.cost(model_a72.read(self._blocks))
        return {
            "instructions": marks[-1],
            "cycles": spent.cycles,
            "loaded_mb": spent.loaded / 1e6,
            "stored_mb": spent.stored / 1e6,
            "version": self.version,
            "label": done.stdout.strip(),
        }


if __name__ == "__main__":
    guest(sys.argv[1:])
