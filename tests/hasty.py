"""`python -m tests.hasty`: the command line, whose probation judges a model after a second."""

from __future__ import annotations

from edge.__main__ import leave
from edge.daemon import probation

probation.CHECK_S = 0.5  # type: ignore[misc]
probation.FRAMES_LEAST = 3  # type: ignore[misc]

if __name__ == "__main__":
    leave()
