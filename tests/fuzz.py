"""What the fuzzing tests share: corpora kept in the repository, mutations, and how long they go on.

In `make test` the same few examples each time; in `make test-long`, which sets FUZZ=long, new ones
and fifty times as many. An input that broke something is added to the corpus of its kind.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

CORPUS: Final = Path(__file__).resolve().parent / "corpus"
LONG: Final = os.environ.get("FUZZ") == "long"


def fuzz(examples: int) -> settings:
    """Return the settings of a fuzzing test with so many examples in `make test`."""
    return settings(
        max_examples=examples * (50 if LONG else 1),
        derandomize=not LONG,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def corpus(kind: str) -> list[bytes]:
    """Return every input of ``kind``, a folder of the corpus, in the order of their names."""
    seeds = [path.read_bytes() for path in sorted((CORPUS / kind).iterdir())]
    assert seeds, f"no corpus of {kind}"
    return seeds


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """Draw one of ``seeds`` with up to eight bytes, runs or ends of it changed."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 8))):
        at = draw(st.integers(0, len(content)))
        match draw(st.sampled_from(("set", "flip", "insert", "cut", "end", "repeat"))):
            case "set":
                content[at : at + 1] = bytes([draw(st.sampled_from((0, 1, 0x7F, 0x80, 0xFF)))])
            case "flip" if at < len(content):
                content[at] ^= 1 << draw(st.integers(0, 7))
            case "insert":
                content[at:at] = draw(st.binary(min_size=1, max_size=16))
            case "cut":
                del content[at : at + draw(st.integers(1, 64))]
            case "end":
                del content[at:]
            case "repeat":
                content[at:at] = content[at : at + draw(st.integers(1, 256))]
    return bytes(content)
