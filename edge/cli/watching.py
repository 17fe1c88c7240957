"""What `edge watch` does: chooses between the local socket of this device and a broker."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge import config as configs
from edge.cli import arguments
from edge.config import Config
from edge.errors import LocalError


def watch(args: argparse.Namespace) -> int:
    """Show what the device, or a broker, sends until Ctrl-C."""
    from edge.cli import watch

    config = configs.load(args.config, arguments.overrides(args))
    base, address = config.mqtt.base_topic, configs.broker(config.mqtt).address
    named = args.broker or args.username or args.password_file or args.device != "+"
    if args.socket and named:
        raise argparse.ArgumentTypeError("expected --socket, or a broker and a device, not both")
    path = args.socket or (None if named else daemon_socket(args.config, config))
    note = "" if named else f"watching broker {address}"
    if path is not None:
        try:
            here = f"watching {path}; --broker {address} shows what the broker has"
            watch.run_local(path, base, seconds=args.seconds, note=here)
            return 0
        except LocalError as exc:
            if args.socket:
                raise
            if isinstance(exc.__cause__, PermissionError):
                note = f"{note} ({exc})"
    watch.run(configs.broker(config.mqtt), base, args.device, seconds=args.seconds, note=note)
    return 0


def daemon_socket(path: Path | None, config: Config) -> Path | None:
    """Return the socket of the daemon that a config file is of; None where that is unknown."""
    if not config.local.enabled:
        return None
    if config.local.path != "auto":
        return Path(config.local.path)
    return configs.SERVICE_SOCKET if path in (None, configs.SERVICE_CONFIG) else None
