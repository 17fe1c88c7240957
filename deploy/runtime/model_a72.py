"""A cost model of executed blocks on a Cortex-A72: cycles by llvm-mca, bytes by instruction.

A block's cycles are those of 60 runs in a row, divided by 60: the throughput of the core's
pipelines, with everything in the first cache and every branch predicted. It is a model: it ranks
builds that instruction counts alone would rank wrongly, and gives no milliseconds.

Knows count.c's file of blocks and LLVM's tools, nothing of runtimes.
"""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.runtime.pins import BuildError

COVERED: Final = 0.97
"""Share of the executed instructions that is modelled; the rest is scaled."""
RUNS: Final = 60
SEPARATOR: Final = 0xD4207560
"""`brk #0x3ab`, between blocks in the disassembler's input."""
NOT_MODELLED: Final = re.compile(r"\s*(svc|mrs|msr|isb|dmb|dsb|bl|blr|ret|br|brk|clrex)\b")
TRIPLE: Final = "aarch64-linux-gnu"


@dataclass(frozen=True, slots=True)
class Block:
    """Straight code that ran ``times`` times; words are its instructions."""

    address: int
    times: int
    words: tuple[int, ...]

    @property
    def work(self) -> int:
        """Instructions executed."""
        return self.times * len(self.words)


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of an interval.

    instructions  executed, exactly
    cycles        modelled
    loaded        bytes, and ``stored``: what the instructions move, from cache or memory
    """

    instructions: int
    cycles: float
    loaded: float
    stored: float


def read(path: Path) -> list[Block]:
    """Return the blocks of count.c's file, most work first."""
    blocks = []
    for line in path.read_text().splitlines():
        address, times, *words = line.split()
        blocks.append(Block(int(address, 16), int(times), tuple(int(word, 16) for word in words)))
    return blocks


def most(blocks: Sequence[Block]) -> list[Block]:
    """Return the first of ``blocks`` that together have COVERED of the instructions."""
    total = sum(block.work for block in blocks)
    done = itertools.accumulate((block.work for block in blocks), initial=0)
    return [block for block, before in zip(blocks, done, strict=False) if before < COVERED * total]


def cost(blocks: Sequence[Block]) -> Cost:
    """Return the total cost of ``blocks``."""
    total = sum(block.work for block in blocks)
    chosen = most(blocks)
    covered = sum(block.work for block in chosen)
    texts = disassemble(chosen)
    cycles = modelled(texts)
    spent = sum(block.times * one for block, one in zip(chosen, cycles, strict=True))
    moved = [[traffic(line) for line in lines] for lines in texts]
    scale = total / covered
    loaded, stored = (
        scale
        * sum(
            block.times * sum(one[way] for one in lines)
            for block, lines in zip(chosen, moved, strict=True)
        )
        for way in (0, 1)
    )
    return Cost(total, scale * spent, loaded, stored)


def disassemble(blocks: Iterable[Block]) -> list[list[str]]:
    """Return each block's instructions as text."""
    words: list[int] = []
    for block in blocks:
        words += [*block.words, SEPARATOR]
    hexed = " ".join(f"0x{byte:02x}" for word in words for byte in word.to_bytes(4, "little"))
    text = _llvm(
        ["llvm-mc", "--disassemble", f"--triple={TRIPLE}", "-mattr=+v8.2a,+dotprod"], hexed
    )
    found: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.split() == ["brk", "#0x3ab"]:
            found.append([])
        elif line.startswith("\t") and not line.startswith("\t."):
            found[-1].append(line.strip().replace("\t", " "))
    return found[:-1]


def modelled(texts: Sequence[Sequence[str]]) -> list[float]:
    """Return the cycles of one run of each block."""
    regions = []
    for number, lines in enumerate(texts):
        kept = [line for line in lines if not NOT_MODELLED.match(line)] or ["nop"]
        regions += [f"# LLVM-MCA-BEGIN r{number}", *kept, "# LLVM-MCA-END"]
    text = _llvm(
        [
            *("llvm-mca", f"-mtriple={TRIPLE}", "-mcpu=cortex-a72", "-mattr=+v8.2a,+dotprod"),
            *(f"-iterations={RUNS}", "-instruction-info=0", "-resource-pressure=0"),
        ],
        "\n".join(regions),
    )
    found = re.findall(r"Code Region - r(\d+)\n.*?Total Cycles:\s+(\d+)", text, re.S)
    cycles = {int(number): int(total) / RUNS for number, total in found}
    return [cycles[number] for number in range(len(texts))]


SCALARS: Final = {"q": 16, "d": 8, "x": 8, "s": 4, "w": 4, "h": 2, "b": 1}
ELEMENTS: Final = {"b": 1, "h": 2, "s": 4, "d": 8}


def traffic(line: str) -> tuple[int, int]:
    """Return the bytes that an instruction loads and stores."""
    name, _, rest = line.partition(" ")
    if not re.match(r"ld|st", name):
        return 0, 0
    moved = 0
    vectors = re.match(r"\{(.+?)\}(\[\d+\])?", rest)
    if vectors:
        registers = vectors[1].split(",")
        shape = registers[0].strip().partition(".")[2]
        element = ELEMENTS[shape[-1]]
        lanes = int(shape[:-1] or 1)
        one = element if vectors[2] or name.endswith("r") else element * lanes
        moved = one * len(registers)
    else:
        first = rest.strip()[:1]
        moved = SCALARS.get(first, 8)
        suffix = re.fullmatch(r"(?:ld|st)u?x?a?l?(?:r|ur|tr|apr|lr)s?([bhw])", name)
        if suffix:
            moved = {"b": 1, "h": 2, "w": 4}[suffix[1]]
        elif name.startswith(("ldp", "stp", "ldnp", "stnp")):
            moved = 8 if name == "ldpsw" else 2 * moved
    return (moved, 0) if name.startswith("ld") else (0, moved)


def _llvm(command: list[str], text: str) -> str:
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError as exc:
        raise BuildError(
            69, "a tool is missing", got=command[0], hint="apt-get install llvm"
        ) from exc
    if done.returncode:
        raise BuildError(70, f"{command[0]} failed", got=done.stderr.splitlines()[0])
    return done.stdout
