"""The demo, ``make run``: a broker unless one is given, the daemon, and what a subscriber receives.

    python deploy/run.py [--source S] [--model M] [--broker HOST:PORT] [--config FILE] [--web]

Three processes: mosquitto, ``edge run`` and this one, which prints what arrives over MQTT; with
--web also ``edge web``, beside a daemon with the demo's config. They end in one order, whether by
Ctrl-C, SIGTERM or a daemon that failed: the daemon is terminated and waited for, its "offline" is
printed, the page and the broker stop last.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from deploy.broker import PrivateBroker  # noqa: E402
from edge.cli import arguments, watch  # noqa: E402
from edge.config import MqttConfig, broker, load  # noqa: E402
from edge.errors import EdgeError  # noqa: E402
from edge.text import escaped  # noqa: E402

CLIP: Final = ROOT / "deploy" / "demo" / "clip.mp4"
DEMO: Final = """\
[publish]
result = true
result_rate = 5.0
telemetry_interval_s = 2.0
[snapshot]
enabled = true
[local]
path = {socket}
[camera]
source = {source}
[mqtt]
host = {host}
port = {port}
tls = {tls}
"""
MODEL: Final = """\
[model]
path = {model}
"""
PORT: Final = 8080
"""Of the page; another one where this is taken."""
STOP_S: Final = 1.5
"""Longest wait for the daemon to end before it is killed."""


def main() -> int:
    """Run until Ctrl-C; return the daemon's exit status if it failed."""
    parser = argparse.ArgumentParser(description="show the daemon at work")
    for option in ("source", "model", "broker", "config"):
        parser.add_argument(f"--{option}", default="")
    parser.add_argument("--web", action="store_true")
    args = parser.parse_args()
    try:
        return show(args)
    except EdgeError as exc:
        print(escaped(str(exc)), file=sys.stderr)
        return exc.exit_status
    except (RuntimeError, argparse.ArgumentTypeError) as exc:
        print(escaped(str(exc)), file=sys.stderr)
        return 1


def show(args: argparse.Namespace) -> int:
    """Start what is needed, print what arrives, end it all; return the exit status."""
    stopping = False

    def on_signal(number: int, _: Any) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    with contextlib.ExitStack() as stack:
        if not args.broker and not args.config:
            private = stack.enter_context(PrivateBroker())
            args.broker = private.address
            print(f"private broker on {private.address}; see it all with:")
            print(f"  mosquitto_sub -h {private.host} -p {private.port} -v -t 'edge/#'", flush=True)
        mqtt = load(Path(args.config) if args.config else None, arguments.overrides(args)).mqtt
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-run-")))
        if not args.config:
            args.source = args.source or str(CLIP)
            _configure(args, mqtt, folder / "demo.toml")
        daemon = _start(args, folder)
        if args.web and not args.config:
            stack.callback(_end, _page(args, folder))
        try:
            watch.run(
                broker(mqtt),
                mqtt.base_topic,
                "+",
                stopped=lambda: stopping or daemon.poll() is not None,
                ended=lambda: _end(daemon),
            )
        finally:
            _end(daemon)
        if daemon.returncode and not stopping:
            for line in (folder / "log").read_text(errors="replace").splitlines():
                print(escaped(line), file=sys.stderr)  # libraries write there too
            return daemon.returncode
    print("stopped", flush=True)
    return 0


def _configure(args: argparse.Namespace, mqtt: MqttConfig, path: Path) -> None:
    """Write the demo's config: what the daemon gets as arguments the page's server reads here."""
    text = DEMO.format(
        socket=_quoted(str(path.with_name("edge.sock"))),
        source=_quoted(_absolute(args.source)),
        host=_quoted(mqtt.host),
        port=mqtt.port,
        tls=json.dumps(mqtt.tls),
    )
    if args.model:
        text += MODEL.format(model=_quoted(_absolute(args.model)))
    path.write_text(text, "utf-8", "replace")


def _quoted(text: str) -> str:
    """Return a text as TOML has it."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _absolute(name: str) -> str:
    """Return the path of a file, anything else as it is."""
    return os.path.abspath(name) if os.path.exists(name) else name


def _start(args: argparse.Namespace, folder: Path) -> subprocess.Popen[bytes]:
    """Start the daemon in its own session; its log is ``folder/log``."""
    config = args.config or str(folder / "demo.toml")
    command = [sys.executable, "-m", "edge", "run", "--config", config]
    command += ["--broker", args.broker] if args.broker else []
    command += ["--source", args.source] if args.source else []
    command += ["--model", args.model] if args.model else []
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            command,
            stderr=log,
            start_new_session=True,
            env=_environment(args, folder),
        )


def _environment(args: argparse.Namespace, folder: Path) -> dict[str, str]:
    """Return the environment; the demo keeps pictures and models in ``folder``, till it ends."""
    state = {} if args.config else {"STATE_DIRECTORY": str(folder)}
    return {**os.environ, "PYTHONPATH": str(ROOT), **state}


def _page(args: argparse.Namespace, folder: Path) -> subprocess.Popen[bytes]:
    """Start the page beside the daemon, for this machine alone; its log is ``folder/web.log``."""
    with socket.socket() as probe:
        taken = probe.connect_ex(("127.0.0.1", PORT)) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1] if taken else PORT
    print(f"page: http://127.0.0.1:{port}/", flush=True)
    command = [sys.executable, "-m", "edge", "web", "--config", str(folder / "demo.toml")]
    with (folder / "web.log").open("wb") as log:
        return subprocess.Popen(
            [*command, "--port", str(port)],
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=_environment(args, folder),
        )


def _end(daemon: subprocess.Popen[bytes]) -> None:
    """Terminate a process and wait; kill it after ``STOP_S``."""
    daemon.terminate()
    try:
        daemon.wait(STOP_S)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


if __name__ == "__main__":
    sys.exit(main())
