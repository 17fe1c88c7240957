"""Runs the server: signals, the end when idle, connections that go nowhere.

uvicorn bounds neither the time until a request's first line nor the wait for a reader that has
stopped reading; ``_tend`` does. One thread: asyncio's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge.web.access import Access, Names
from edge.web.announced import hint
from edge.web.api import Api
from edge.web.device import Device
from edge.web.guard import Activity, App, Guard
from edge.web.lessons import Lessons
from edge.web.listening import Opened, listen
from edge.web.login import Login
from edge.web.pages import pages
from edge.web.password import Passwords
from edge.web.patterns import Rules
from edge.web.place import Place
from edge.web.predict import Predict
from edge.web.routes import application, rules
from edge.web.tokens import Tokens

log = logging.getLogger(__name__)
CONNECTIONS: Final = 400
TEND_S: Final = 2.0
FIRST_S: Final = 20.0
"""Longest wait for the first request of a connection."""
CLOSING_S: Final = 5.0
"""Longest wait for a reader of a connection that is being closed."""
END_S: Final = 3.0
"""Longest wait for answers that are being sent, at the end."""

Wait = tuple[str, Any]
Waits = dict[Any, tuple[Wait | None, float]]


@dataclass(frozen=True, slots=True)
class Options:
    """How to serve.

    idle_s        ends after so long without a request; 0: never
    names         host names, beside this machine's and localhost
    behind_proxy  the address of a client is in X-Forwarded-For, from a proxy on this machine
    """

    socket: Path
    idle_s: float
    names: tuple[str, ...]
    behind_proxy: bool
    workers: int


def run(
    options: Options, opened: Opened, passwords: Passwords, tokens: Tokens, place: Place
) -> None:
    """Serve until a signal, or until idle. Raises ConfigError."""
    listen(opened, passwords)
    asyncio.run(_serve(options, opened.listener, passwords, tokens, place, opened.tls))


async def _serve(
    options: Options,
    listener: socket.socket,
    passwords: Passwords,
    tokens: Tokens,
    place: Place,
    tls: ssl.SSLContext | None,
) -> None:
    device, activity = Device(options.socket), Activity()
    predict = Predict(lambda: place.load().model, lambda: device.newest.model, options.workers)
    access = Access(passwords, tokens, options.behind_proxy)
    api = Api(device, predict, Login(access, passwords), passwords, activity)
    lessons = Lessons(place, device, options.socket, activity)
    files, routes = pages(), [*api.routes(), *lessons.routes()]
    host = socket.gethostname()
    names = Names((host, f"{host}.local", *options.names))
    app = Guard(application(routes, files), access, names, Rules(rules(routes, files)), activity)
    server = _server(app, tls, options.behind_proxy)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    tasks = [
        asyncio.create_task(device.run()),
        asyncio.create_task(_tend(server, activity, options.idle_s, stop)),
        asyncio.create_task(_stop(server, device, stop)),
    ]
    where = address(listener, tls is not None)
    log.info("serving %s", where)
    if line := hint(where, place.load().homeassistant, host, options.behind_proxy):
        log.info("%s", line)
    try:
        await server.serve(sockets=[listener])
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        predict.close()
        lessons.close()


def _server(app: App, tls: ssl.SSLContext | None, behind_proxy: bool) -> Any:
    """Return uvicorn's server, with signals and log left to us."""
    import uvicorn

    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # the guard says what matters
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=behind_proxy,
        forwarded_allow_ips="127.0.0.1,::1",
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=5,
    )
    config.load()
    config.ssl = tls  # it would open the files itself, which root alone may read
    server = uvicorn.Server(config)
    for name in ("install_signal_handlers", "capture_signals"):  # of 0.17, and of 0.29 on
        setattr(server, name, contextlib.nullcontext)
    return server


async def _stop(server: Any, device: Device, stop: asyncio.Event) -> None:
    """End the server once ``stop`` is set: streams first, then answers, then by force."""
    await stop.wait()
    device.close()
    server.should_exit = True
    await asyncio.sleep(END_S)
    server.force_exit = True
    for connection in list(server.server_state.connections):
        connection.transport.abort()


async def _tend(server: Any, activity: Activity, idle_s: float, stop: asyncio.Event) -> None:
    """End connections that go nowhere, and the server when it is idle."""
    since: Waits = {}
    while True:
        await asyncio.sleep(min(TEND_S, idle_s or TEND_S))
        if idle_s and activity.idle_s() >= idle_s:
            log.info("no request for %.0f s: ending", idle_s)
            stop.set()
            return
        since = _swept(server.server_state.connections, since, time.monotonic())


def _swept(connections: set[Any], since: Waits, now_s: float) -> Waits:
    """Abort what waits too long; return connection -> what it waits for, since when."""
    first_s = FIRST_S if len(connections) < CONNECTIONS / 2 else TEND_S
    waits: Waits = {}
    for connection in list(connections):
        wait = _wait(connection)
        if wait is None:
            continue
        before, begin_s = since.get(connection, (None, now_s))
        begin_s = begin_s if before == wait else now_s
        if now_s - begin_s >= (CLOSING_S if wait[0] == "closing" else first_s):
            connection.transport.abort()
        else:
            waits[connection] = wait, begin_s
    return waits


def _wait(connection: Any) -> Wait | None:
    """Return what a connection of uvicorn's waits for, its end or its next request; or neither.

    With it comes its last request, so that the wait for the next one begins again.
    """
    if connection.transport.is_closing():
        return "closing", None
    cycle = connection.cycle
    return ("request", cycle) if cycle is None or cycle.response_complete else None


def address(listener: socket.socket, tls: bool) -> str:
    """Return where a socket listens, as a browser has it."""
    place = listener.getsockname()
    if not isinstance(place, tuple):
        return f"unix:{place}"
    host = f"[{place[0]}]" if ":" in place[0] else place[0]
    return f"{'https' if tls else 'http'}://{host}:{place[1]}/"
