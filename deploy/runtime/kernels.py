"""The functions of executed blocks, by the linker's map of the extension.

Knows the format of GNU ld's map and XNNPACK's kernel names, nothing of running.
"""

from __future__ import annotations

import bisect
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.runtime import model_a72
from deploy.runtime.pins import BuildError

LAYERS: Final = {
    r"q[su]8-.*gemm-|xnn_q.*_gemm_": "1x1 convolutions and dense",
    r"q[su]8-.*igemm-|xnn_q.*_igemm_": "other convolutions",
    r"dwconv": "depthwise",
    r"v(add|mul)c?_|-v(add|mul)c?-": "sums of two branches",
    r"r?sum|gavgpool": "mean over the picture",
}
"""Pattern of a kernel's name -> the layers it computes; the last match counts."""
SMALLEST: Final = 0.004
"""Kernels with a smaller share of the cycles are combined in one row."""
SECTION: Final = re.compile(r"^ \.text(?:\.(\S+))?\s+0x([0-9a-f]+)\s+0x([0-9a-f]+)\s+(\S+)$", re.M)


@dataclass(frozen=True, slots=True)
class Share:
    """One kernel's share of an invoke's cost."""

    layers: str
    kernel: str
    instructions: int
    cycles: float
    share: float


def functions(text: str) -> list[tuple[int, int, str]]:
    """Return first address, size and name of each piece of code in a linker's map.

    C functions have sections of their own; for assembly the object's file names the kernel.
    """
    pieces = []
    for name, start, size, origin in SECTION.findall(text):
        file = re.sub(r".*\(|(\.cc?|\.S)?\.o\)?$", "", origin)
        if int(size, 16) and int(start, 16):
            pieces.append((int(start, 16), int(size, 16), name or file))
    return sorted(pieces)


def shares(blocks: Sequence[model_a72.Block], base: int, link_map: Path) -> list[Share]:
    """Return the kernels that ran, the costliest first, and the others combined.

    base  address that the extension was loaded at
    """
    if not link_map.exists():
        raise BuildError(69, "no linker's map", where=str(link_map), hint="make runtime")
    pieces = functions(link_map.read_text())
    starts = [start for start, _, _ in pieces]
    total = sum(block.work for block in blocks)
    chosen = model_a72.most(blocks)
    instructions: Counter[str] = Counter()
    cycles: defaultdict[str, float] = defaultdict(float)
    modelled = model_a72.modelled(model_a72.disassemble(chosen))
    for block, one in zip(chosen, modelled, strict=True):
        at = bisect.bisect_right(starts, block.address - base) - 1
        inside = at >= 0 and block.address - base < pieces[at][0] + pieces[at][1]
        name = pieces[at][2] if inside else "outside"
        instructions[name] += block.work
        cycles[name] += block.times * one
    scale = total / sum(instructions.values())
    everything = sum(cycles.values())
    rows = [
        Share(layers(name), f"`{short(name)}`", instructions[name], spent, spent / everything)
        for name, spent in sorted(cycles.items(), key=lambda one: -one[1])
        if spent >= SMALLEST * everything
    ]
    named = sum(row.cycles for row in rows)
    rest = total - sum(row.instructions for row in rows)
    left = scale * everything - named
    return [*rows, Share("", "all else", rest, left, left / (scale * everything))]


def layers(name: str) -> str:
    """Return the kind of layers that a kernel computes."""
    matches = [text for pattern, text in LAYERS.items() if re.search(pattern, name)]
    return matches[-1] if matches else ""


def short(name: str) -> str:
    """Return a kernel's name without the parts that all names share."""
    return re.sub(r"^xnn_|_minmax(_fp32)?_ukernel|_ukernel|-minmax(-fp32)?", "", name)
