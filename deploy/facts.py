"""What a device says of itself: data from outside, so typed, bounded and escaped here. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

from edge.text import escaped

TEXT_MAX: Final = 300
NUMBER_MAX: Final = 10**15
LABELS_MAX: Final = 50


@dataclass(frozen=True, slots=True)
class Facts:
    """What a device said of itself; None is what it did not say.

    installed, package  version that dpkg has; SHA-256 of its package, of one that was deployed
    bundle              the same of the model in use, of one that a rollout brought
    refused             SHA-256 of a package that was not healthy: the last deploy went back
    state               systemd's state of the service: `active` once READY
    run                 the daemon's id of this start
    p99_ms              of a frame from preprocessing to publishing
    labels              best label of each frame -> frames
    agreement           of a shadow with the model at work, the same frames
    faults              checks of `edge doctor` that are a fault
    """

    installed: str = ""
    package: str = ""
    bundle: str = ""
    refused: str = ""
    state: str = ""
    version: str = ""
    run: str = ""
    model: str = ""
    online: bool | None = None
    camera: str | None = None
    restarts: int | None = None
    fps: float | None = None
    p99_ms: float | None = None
    invalid: float | None = None
    drift: str | None = None
    labels: Mapping[str, int] = field(default_factory=dict)
    agreement: float | None = None
    faults: tuple[str, ...] = ()
    went_back: str = ""


TYPES: Final[dict[str, tuple[type, ...]]] = {
    **dict.fromkeys(("online",), (bool,)),
    **dict.fromkeys(("restarts",), (int,)),
    **dict.fromkeys(("fps", "p99_ms", "invalid", "agreement"), (int, float)),
    **dict.fromkeys(("labels",), (dict,)),
    **dict.fromkeys(("faults",), (list, tuple)),
}
"""Field -> JSON types it may have; the others are text."""


def typed(given: Mapping[str, Any]) -> Facts:
    """Return facts from JSON types; what has another type is left out."""
    found: dict[str, Any] = {}
    for one in fields(Facts):
        value: Any = given.get(one.name)
        types = TYPES.get(one.name, (str,))
        if isinstance(value, types) and isinstance(value, bool) == (bool in types):
            bounded = _bounded(value)
            if bounded is not None:
                found[one.name] = bounded
    return Facts(**found)


def _bounded(value: Any) -> Any:
    """Return a value with few, short, printable texts, and numbers of a usual size."""
    if isinstance(value, int | float):
        return value if abs(value) <= NUMBER_MAX else None  # not a number is left out, too
    if isinstance(value, str):
        return escaped(value, TEXT_MAX)
    if isinstance(value, dict):
        some = [*value.items()][:LABELS_MAX]
        return {
            escaped(str(k), TEXT_MAX): v
            for k, v in some
            if isinstance(v, int) and 0 <= v <= NUMBER_MAX
        }
    if isinstance(value, list | tuple):
        return tuple(escaped(str(word), TEXT_MAX) for word in value[:LABELS_MAX])
    return value


def plain(facts: Facts) -> dict[str, Any]:
    """Return facts as JSON types."""
    return asdict(facts)
