"""What the file that is sent to a device does: the first word says which part of it."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Run one part; return its exit status. A path is a package to install."""
    first, *rest = arguments
    if first == "facts":
        from deploy.on_device import facts

        return facts.main(rest)
    if first == "model":
        from deploy.on_device import model

        return model.main(rest)
    if first == "back":
        from deploy.on_device import back

        return back.main(rest)
    from deploy.on_device import rollout

    return rollout.main(arguments)
