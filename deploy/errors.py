"""What ends a deploy or a rollout, or one device of it, on one line."""

from __future__ import annotations

import traceback
from pathlib import Path

from deploy.runtime.pins import BuildError
from edge.text import escaped


class DeployError(BuildError):
    """The package could not be deployed to a host; ``status`` is the exit status."""

    def line_at(self, name: str) -> str:
        """Return the whole line, without the host's name at its beginning."""
        return str(self).removeprefix(f"{name}: ")


def internal(exc: Exception) -> str:
    """Return an error of this program itself on one line, with its type and place."""
    at = traceback.extract_tb(exc.__traceback__)[-1]
    what = f"{type(exc).__name__}: {escaped(str(exc), 300)}"
    return f"internal error: {what} ({Path(at.filename).name}:{at.lineno})"
