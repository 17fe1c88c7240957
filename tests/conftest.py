"""Real parts for the tests: a broker, small models, the daemon as a process."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from deploy.broker import PrivateBroker
from tests.frozen_stream import FrozenStream

if "EDGE_RABBITMQ" in os.environ:  # see tests/rabbitmq/
    import deploy.broker
    from tests.rabbitmq.broker import RabbitBroker, with_names

    deploy.broker.PrivateBroker = PrivateBroker = RabbitBroker  # type: ignore[misc]

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "tests" / "models"
SHARED = ROOT.parent / "shared" / "data"
WAIT_S = 15.0 if "EDGE_RABBITMQ" in os.environ else 50.0
"""Longest wait for what must come: long for a loaded machine; a test that passes never takes it."""
POLL_S = 0.01
LONGEST = (
    *("test_recipe_run", "test_mqtt_hostile", "test_control", "test_camera_outage"),
    *("test_loop", "test_web_schema"),
    *("test_terminal", "test_trial", "test_sdcard_flash", "test_trials", "test_rtsp_faults"),
    *("test_signals", "test_service", "test_web_attacks", "test_film", "test_outage"),
    *("test_mqtt_limits", "test_spool_daemon", "test_doctor", "test_runtime_kernels"),
)
"""Files that start first, so that none is left for one worker alone at the end."""


def pytest_configure() -> None:
    """Let Ctrl-C reach what the tests start, also where a shell runs them in the background."""
    from tests import fuzz  # hypothesis is not on the virtual machine that imports this file

    fuzz.load_profile()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if "PYTEST_XDIST_WORKER" not in os.environ:  # workers share the models proven so far
        os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="edge-cache-")


def pytest_unconfigure() -> None:
    """Remove the record of proven models."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)


def pytest_xdist_auto_num_workers() -> int:
    """Return two workers for each core: most tests wait for a process more than they compute."""
    return 2 * len(os.sched_getaffinity(0))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files; count tests by hypothesis as fuzzing, for `make test-long`."""
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker(pytest.mark.fuzz)


def wait_until(
    condition: Callable[[], bool],
    detail: Callable[[], object] = lambda: None,
    longest_s: float = WAIT_S,
    every_s: float = POLL_S,
) -> None:
    """Return once ``condition`` holds; fail with ``detail()`` after ``longest_s``."""
    end = time.monotonic() + longest_s
    while not condition():
        assert time.monotonic() < end, detail()
        time.sleep(every_s)  # between two looks


def model_folder(folder: Path, name: str = "uint8io", **changes: str) -> Path:
    """Return ``folder`` with a colour model and its card; ``changes`` replace lines of the card."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(MODELS / f"{name}.tflite", folder)
    labels = '["red", "blue"]' if name == "sigmoid" else '["red", "green", "blue"]'
    lines = {"name": f'"{name}"', "file": f'"{name}.tflite"', "labels": labels} | changes
    card = "".join(f"{key} = {value}\n" for key, value in lines.items())
    card += f'[output]\nactivation = "{"sigmoid" if name == "sigmoid" else "softmax"}"\n'
    (folder / "model.toml").write_text(card)
    return folder


@pytest.fixture
def rgb(tmp_path: Path) -> Path:
    """A folder with the uint8 colour model: red, green or blue?"""
    return model_folder(tmp_path / "rgb")


@pytest.fixture
def broker() -> Iterator[PrivateBroker]:
    """A mosquitto of the test's own."""
    with PrivateBroker() as running:
        yield running


class Listener:
    """A subscriber that knows nothing of this project: it keeps what comes.

    login    user name and password, for a broker that requires them
    lines    TOPIC PAYLOAD of each message, in the order of arrival
    """

    def __init__(
        self, broker: PrivateBroker, topic: str = "edge/#", login: tuple[str, str] | None = None
    ) -> None:
        self.messages: list[tuple[str, bytes, bool]] = []
        self.lines: list[str] = []
        self._came = threading.Condition()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        if login:
            self._client.username_pw_set(*login)
        subscribed = threading.Event()
        self._client.on_connect = lambda *_: self._subscribe(topic)
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.on_message = self._take
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()
        assert subscribed.wait(WAIT_S)

    def _subscribe(self, topic: str) -> None:
        topics = with_names(topic) if "EDGE_RABBITMQ" in os.environ else [topic]
        self._client.subscribe([(name, 1) for name in topics])

    def _take(self, _: Any, __: Any, message: paho.MQTTMessage) -> None:
        with self._came:
            kind = message.topic.split("/")[-1]
            self.messages.append((kind, bytes(message.payload), message.retain))
            self.lines.append(f"{message.topic} {message.payload.decode(errors='replace')}")
            self._came.notify_all()

    def bodies(self, kind: str) -> list[bytes]:
        """Return what has come on one topic."""
        return [body for topic, body, _ in list(self.messages) if topic == kind]

    def payloads(self, kind: str) -> list[Any]:
        """Return what has come on one topic, decoded."""
        decode = bytes.decode if kind == "availability" else json.loads
        return [decode(body) for body in self.bodies(kind)]

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Return once ``condition`` holds; fail after ``WAIT_S``."""
        with self._came:
            assert self._came.wait_for(condition, WAIT_S), self.messages[-5:]

    def catch_up(self) -> None:
        """Return once everything has come that the broker's socket holds now.

        The broker reads all its sockets in turn: what another client had sent before the first of
        two messages of ours has been passed on before the second.
        """
        for count in (1, 2):
            self._client.publish("edge/listener/marker", str(count), qos=1)
            self.wait_for(partial(self.lines.__contains__, f"edge/listener/marker {count}"))
        self.lines = [line for line in self.lines if "/marker " not in line]
        self.messages = [message for message in self.messages if message[0] != "marker"]

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()
        self._client.on_connect = self._client.on_message = None  # a cycle: its sockets would stay


@pytest.fixture
def listen(broker: PrivateBroker) -> Iterator[Callable[[], Listener]]:
    """Return a function that begins a subscriber."""
    with contextlib.ExitStack() as stack:

        def begin() -> Listener:
            listener = Listener(broker)
            stack.callback(listener.close)
            return listener

        yield begin


@pytest.fixture
def frozen_stream() -> Iterator[str]:
    """The address, credentials in it, of a stream that falls silent."""
    stream = FrozenStream()
    yield stream.url
    stream.close()


def tracked() -> list[str]:
    """Return the name of every file that git has or would take."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    return done.stdout.splitlines()


def edge(
    *arguments: str | Path, module: str = "edge", **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False, **options
    )


class Daemon:
    """``edge run`` as a process."""

    def __init__(
        self,
        folder: Path,
        *arguments: str | Path,
        config: str = "",
        module: str = "edge",
        **env: str,
    ) -> None:
        (folder / "edge.toml").write_text(config)
        self.log = folder / f"daemon-{len(list(folder.glob('daemon-*.log')))}.log"
        command = [sys.executable, "-m", module, "run", "--config", folder / "edge.toml"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*map(str, command), *map(str, arguments)],
                cwd=ROOT,
                stderr=log,
                env={**os.environ, **env},
            )

    def wait_for_log(self, text: str, count: int = 1) -> None:
        """Return once ``text`` is in the log so often; fail after ``WAIT_S``, or at its end."""

        def logged() -> bool:
            ended = self.process.poll() is not None
            content = self.log.read_text()
            assert content.count(text) >= count or not ended, content
            return content.count(text) >= count

        wait_until(logged, self.log.read_text)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(WAIT_S)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Return a function that starts the daemon; it does not outlive the test."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str | Path, **options: str) -> Daemon:
            running = Daemon(tmp_path, *arguments, **options)
            stack.callback(running.process.wait)
            stack.callback(running.process.kill)
            return running

        yield start


@pytest.fixture
def serve() -> Iterator[Callable[..., Any]]:
    """Return a function that starts an RTSP server; none outlives the test."""
    from tests.streams import RtspServer  # which knows this file

    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> RtspServer:
            server = RtspServer(*arguments)
            stack.callback(server.close)
            return server

        yield start


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Return a function that starts `edge web`; none outlives the test."""
    from tests.web_server import Web  # which knows this file

    with contextlib.ExitStack() as stack:

        def start(*arguments: str | Path, **options: str) -> Web:
            running = Web(tmp_path, *arguments, **options)
            stack.callback(running.process.wait)
            stack.callback(running.process.kill)
            return running

        yield start


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Return a function that starts a daemon's socket that says what the test wants."""
    from tests.web_server import FakeDaemon

    with contextlib.ExitStack() as stack:

        def start(*arguments: Any, **options: Any) -> FakeDaemon:
            running = FakeDaemon(tmp_path / "edge.sock", *arguments, **options)
            stack.callback(running.close)
            return running

        yield start
