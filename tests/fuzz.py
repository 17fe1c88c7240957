"""Shared parts of the fuzzing tests: corpora in the repository, mutations, numbers of examples.

In `make test` the same few examples each time; in `make test-long`, which sets FUZZ=long, new ones
and many times as many. An input that broke something is added to the corpus of its kind.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

CORPUS: Final = Path(__file__).resolve().parent / "corpus"
LONG: Final = os.environ.get("FUZZ") == "long"


def load_profile() -> None:
    """Choose how all tests by hypothesis draw.

    In `make test` every run draws the same examples, so that CI does not fail by chance, on a
    change that has nothing to do with it. `make test-long` is where new ones are found.
    """
    if LONG:
        settings.register_profile("edge", max_examples=2000, database=None, deadline=None)
    else:
        settings.register_profile("edge", derandomize=True, database=None, deadline=None)
    settings.load_profile("edge")


def fuzz(examples: int) -> settings:
    """Return the settings of a fuzzing test with so many examples in `make test`."""
    return settings(
        max_examples=examples * (50 if LONG else 1), suppress_health_check=list(HealthCheck)
    )


def corpus(kind: str) -> list[bytes]:
    """Return every input of ``kind``, a folder of the corpus, in the order of the file names."""
    seeds = [path.read_bytes() for path in sorted((CORPUS / kind).iterdir())]
    assert seeds, f"no corpus of {kind}"
    return seeds


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """Draw one of ``seeds`` with up to eight changes: a byte, a run of bytes, its end."""
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
