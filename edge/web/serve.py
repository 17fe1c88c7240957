"""Runs the server: socket, TLS, signals, the end when idle, connections that go nowhere.

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

from edge.errors import ConfigError
from edge.web import activation
from edge.web.access import Access, Names, is_loopback
from edge.web.announced import hint
from edge.web.api import Api
from edge.web.device import Device
from edge.web.guard import Activity, App, Guard
from edge.web.lessons import Lessons
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

    host, port    where to listen; without effect on a socket of systemd's
    idle_s        ends after so long without a request; 0: never
    tls           certificate and key; None: plain HTTP
    names         host names, beside this machine's and localhost
    behind_proxy  the address of a client is in X-Forwarded-For, from a proxy on this machine
    """

    host: str
    port: int
    socket: Path
    idle_s: float
    tls: tuple[Path, Path] | None
    names: tuple[str, ...]
    behind_proxy: bool
    workers: int


def run(options: Options, passwords: Passwords, tokens: Tokens, place: Place) -> None:
    """Serve until a signal, or until idle. Raises ConfigError."""
    certificates = options.tls and _check_tls(*options.tls)
    listener = activation.inherited() or _listen(options, passwords)
    asyncio.run(_serve(options, listener, passwords, tokens, place, certificates))


async def _serve(
    options: Options,
    listener: socket.socket,
    passwords: Passwords,
    tokens: Tokens,
    place: Place,
    tls: tuple[str, str] | None,
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


def _server(app: App, tls: tuple[str, str] | None, behind_proxy: bool) -> Any:
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
        ssl_certfile=tls[0] if tls else None,
        ssl_keyfile=tls[1] if tls else None,
    )
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


def _listen(options: Options, passwords: Passwords) -> socket.socket:
    """Return a listening socket. Raises ConfigError: on a network only with a password."""
    where = f"{options.host}:{options.port}"
    try:
        family, kind, _, _, place = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        if not is_loopback(str(place[0])) and passwords.current() is None:
            raise ConfigError(
                "no password is set: only this machine is served",
                where=where,
                expected="--host 127.0.0.1, or a password",
                hint="set one with `edge web --set-password`",
            )
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(128)
    except (OSError, UnicodeError) as exc:
        reason = getattr(exc, "strerror", None) or str(exc)
        raise ConfigError(f"cannot listen: {reason}", where=where, hint="see --port") from exc
    listener.setblocking(False)
    return listener


def address(listener: socket.socket, tls: bool) -> str:
    """Return where a socket listens, as a browser has it."""
    place = listener.getsockname()
    if not isinstance(place, tuple):
        return f"unix:{place}"
    host = f"[{place[0]}]" if ":" in place[0] else place[0]
    return f"{'https' if tls else 'http'}://{host}:{place[1]}/"


def _check_tls(certificate: Path, key: Path) -> tuple[str, str]:
    """Return the paths of certificate and key, which belong together. Raises ConfigError."""
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as exc:
        reason = getattr(exc, "reason", None) or exc.strerror or str(exc)
        where = f"--tls-cert {certificate}, --tls-key {key}"
        raise ConfigError(f"cannot be used: {reason}", where=where) from exc
    return str(certificate), str(key)
