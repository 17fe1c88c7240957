"""Where frames come from: a file that the config names, its camera if it is free, or made up."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from edge import config as configs
from edge.cli.tune.records import Scene
from edge.config import CameraConfig
from edge.text import escaped


@dataclass(frozen=True, slots=True)
class Source:
    """A source.

    scene, files  of a request
    sizes         the camera's size is for us to choose
    note          for a person
    """

    scene: Scene
    files: bool
    sizes: bool
    note: str = ""


def choose(config: CameraConfig, held: bool) -> Source:
    """Return where frames come from. held: a daemon runs, which may use the camera."""
    name = escaped(configs.without_credentials(config.source), 200)
    if config.source.partition(":")[0] == "synthetic":
        return Source("moving", False, True)
    stream = "://" in config.source
    if _is_file(config.source) and not stream:
        return Source("source", True, False)
    if held:
        return made_up(config, f"{name} is not opened, because a daemon is running")
    return Source("source", False, not stream)


def made_up(config: CameraConfig, why: str) -> Source:
    """Return made-up frames in the place of a camera."""
    rest = "made-up pictures stand for it: capture and decoding are not in the figures"
    return Source("moving", False, "://" not in config.source, f"{why}; {rest}")


def daemon_at(path: Path | None) -> bool:
    """Return whether somebody listens on the local socket."""
    if path is None:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        try:
            client.connect(str(path))
        except PermissionError:  # it is there, and not for us
            return True
        except (OSError, ValueError):
            return False
    return True


def _is_file(source: str) -> bool:
    try:
        path = Path(source).expanduser()
        return path.is_file() or path.is_dir()
    except (OSError, RuntimeError, ValueError):
        return False
