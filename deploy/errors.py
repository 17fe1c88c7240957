"""What ends a deploy or a rollout, or one device of it, on one line."""

from __future__ import annotations

from deploy.runtime.pins import BuildError


class DeployError(BuildError):
    """The package could not be deployed to a host; ``status`` is the exit status."""

    def line_at(self, name: str) -> str:
        """Return the whole line, without the host's name at its beginning."""
        return str(self).removeprefix(f"{name}: ")
