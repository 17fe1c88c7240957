"""Models by name: ``catdog`` is a folder with a card, in one of a few places.

A name has no slash and no suffix of a file: ``./catdog`` and ``catdog.tflite`` are paths. Names of
models that come with this program come first, so that nothing else is ever taken for them. Of a
model that was added, ``gate@2`` is a version and ``gate`` the newest one; see ``store``.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Final

from edge import config as configs
from edge.errors import ModelError

CARD: Final = "model.toml"
MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.sig"
"""Beside the card of a model that came as a signed bundle, and of no other: see signed."""
SHIPPED: Final = "catdog"
"""The model that an empty name stands for."""
STATE: Final = Path("/var/lib/edge-camera")
"""The service's state directory, for programs that systemd does not start."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}(@[A-Za-z0-9][A-Za-z0-9_.-]{0,31})?\Z")
_FILES: Final = (".tflite", ".toml")
_PACKAGE: Final = Path(__file__).resolve().parent.parent


def is_name(text: str) -> bool:
    """Return whether ``text`` can be the name of an installed model."""
    return bool(_NAME.match(text)) and not text.endswith(_FILES)


def places() -> tuple[Path, ...]:
    """Return the folders in which models lie, each in a folder of its own name.

    The package, or ``models`` of a checkout; then ``models`` in the service's state directory.
    """
    own = _PACKAGE if (_PACKAGE / SHIPPED).is_dir() else _PACKAGE.parent / "models"
    return own, (configs.state_folder() or STATE) / "models"


def shipped() -> Path:
    """Return the folder of the model that an empty name stands for."""
    return places()[0] / SHIPPED


def folder(name: str) -> Path | None:
    """Return the folder of the model ``name``; None where there is none."""
    if not is_name(name):
        return None
    for place in places():
        if _is_model(place / name):
            return place / name
    return max(versions(name), key=lambda path: order(path.name), default=None)


def check_free(reference: str, config: configs.Config) -> None:
    """Raise ModelError where the config names an installed model: ``reference`` as it is listed."""
    named = {
        "model.path": config.model.path,
        "model.second": config.model.second,
        "shadow.model": config.shadow.model,
    }
    for key, model in named.items():
        place = folder(model)
        if place is not None and place.name == reference:
            raise ModelError("is in use", where=reference, hint=f"{key} in the config names it")


def versions(name: str) -> list[Path]:
    """Return the folders of every version of the added model ``name``."""
    try:
        found = list(added().glob(f"{name}@*"))
    except OSError:  # there is none, or it is the service's own
        return []
    return [path for path in found if is_name(path.name) and _is_model(path)]


def order(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return what sorts names by version, 10 after 9."""
    parts = re.findall(r"\d+|\D+", name)
    return tuple((1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts)


def added() -> Path:
    """Return the folder of the models that this device was given."""
    return places()[-1]


def names() -> tuple[str, ...]:
    """Return the name of every installed model, sorted."""
    found: set[str] = set()
    for place in places():
        try:
            found |= {path.name for path in place.iterdir() if is_name(path.name)}
        except OSError:  # there is none, or it is the service's own
            continue
    return tuple(sorted(name for name in found if folder(name)))


def _is_model(path: Path) -> bool:
    try:
        return (path / CARD).is_file()
    except OSError:  # only the service may look there
        return False


def unknown(name: str, where: str) -> ModelError:
    """Return the refusal of a name that no model has, with the names that some have."""
    close = difflib.get_close_matches(name, names(), n=1)
    return ModelError(
        "model not found",
        where=where,
        expected=f"one of {', '.join(names())}, or a path with a slash",
        got=name,
        hint=f"did you mean `{close[0]}`?" if close else "",
    )
