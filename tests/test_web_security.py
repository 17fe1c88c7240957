"""Who gets in, from where, and what a browser can be made to do. A real server, hostile clients."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.web import password
from tests.conftest import ROOT, WAIT_S, edge, wait_until
from tests.web_server import ASK, FakeDaemon, Got, Web, said

Serve = Callable[..., Web]
Fake = Callable[..., FakeDaemon]
PASSWORD = "correct horse battery"


def set_password(folder: Path, password: str = PASSWORD) -> subprocess.CompletedProcess[str]:
    """Set the password through stdin."""
    env = {**os.environ, "STATE_DIRECTORY": str(folder)}
    return edge("web", "--set-password", input=password + "\n", env=env)


def log_in(server: Web, password: str = PASSWORD, **headers: str) -> Got:
    """Return the answer to a try to log in."""
    return server.send("POST", "/api/login", json.dumps({"password": password}), {**ASK, **headers})


def session(server: Web) -> dict[str, str]:
    """Return the header of a new session's cookie."""
    return {"Cookie": log_in(server).headers["set-cookie"].partition(";")[0]}


@pytest.fixture
def locked(tmp_path: Path, web: Serve, fake: Fake) -> Web:
    """A server with a password, and a daemon that answers every request."""
    assert set_password(tmp_path).returncode == 0
    fake(said("state", label="red"))
    return web().ready()


def test_with_a_password_nothing_of_the_device_is_told_without_it(locked: Web) -> None:
    """Every address of the API and every wrong key to it: 401, and not a word of the device."""
    document = locked.ask("/openapi.json").json()
    public = {"/healthz", "/api/session", "/api/login", "/api/logout"}
    for path, methods in document["paths"].items():
        method = "POST" if "post" in methods else "GET"
        for headers in (
            {},
            {"Cookie": "edge_session=" + "A" * 43},
            {"Authorization": "Bearer edge_" + "A" * 43},
            {"Authorization": "Basic YTpi"},
            {"X-Forwarded-For": "127.0.0.1"},
        ):
            got = locked.send(method, path, b"" if method == "POST" else None, {**ASK, **headers})
            if path not in public:
                assert (got.status, path) == (401, path)
                assert b"red" not in got.body
    assert locked.ask("/api/session").json() == {"password": True, "caller": "nobody"}
    assert locked.ask("/").status == 200


def test_a_session_lets_in_until_it_is_closed(locked: Web) -> None:
    """Its cookie is kept from scripts and from other sites."""
    got = log_in(locked)
    assert got.status == 200
    made = got.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(made.split("; "))
    mine = {"Cookie": made.partition(";")[0]}
    assert locked.send("GET", "/api/state", None, mine).status == 200
    assert locked.send("POST", "/api/request/pause", b"{}", {**mine, **ASK}).status == 200
    assert locked.send("POST", "/api/logout", b"", {**mine, **ASK}).status == 200
    assert locked.send("GET", "/api/state", None, mine).status == 401
    assert re.search(r"audit: login, from 127.0.0.1\n", locked.log.read_text())
    assert "audit: logout" in locked.log.read_text()


def test_passwords_cannot_be_guessed(locked: Web) -> None:
    """Five tries, then 429 for all, the right one too; each is in the log, no password is."""
    answers = [log_in(locked, f"wrong horse {number}") for number in range(5)]
    assert [got.status for got in answers] == [401] * 5
    late = log_in(locked)
    assert late.status == 429
    assert 1 <= int(late.headers["retry-after"]) <= 60
    log = locked.log.read_text()
    assert log.count("audit: login refused, from 127.0.0.1") == 5
    assert "horse" not in log


def test_a_new_password_ends_every_session(locked: Web, tmp_path: Path) -> None:
    """At once, without a restart."""
    mine = session(locked)
    assert locked.send("GET", "/api/state", None, mine).status == 200
    set_password(tmp_path, "another password")
    assert locked.send("GET", "/api/state", None, mine).status == 401
    assert log_in(locked).status == 401
    assert log_in(locked, "another password").status == 200


def test_a_password_file_that_cannot_be_read_locks_everyone_out(
    locked: Web, tmp_path: Path
) -> None:
    """It never counts as no password; the log says which file, once it is asked for."""
    mine = session(locked)
    file = tmp_path / "web-password.json"
    kept = file.rename(tmp_path / "kept")
    file.write_text("{}")
    for got in (locked.ask("/api/state"), locked.send("GET", "/api/state", None, mine)):
        assert got.status == 403
    assert log_in(locked).status == 403
    line = "web-password.json: not a password's hash"
    assert locked.log.read_text().count(line) == 1
    again = edge("web", "--port", "0", env={**os.environ, "STATE_DIRECTORY": str(tmp_path)})
    assert (again.returncode, again.stderr.count("\n")) == (78, 1)
    kept.rename(file)  # the very file that was there before
    assert locked.ask("/api/state").status == 401
    assert log_in(locked).status == 200


def test_the_password_is_stored_hashed_for_its_owner_alone(tmp_path: Path) -> None:
    """Mode 0600, salted; the same password gives another file each time."""
    set_password(tmp_path)
    file = tmp_path / "web-password.json"
    first = file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert PASSWORD not in first
    set_password(tmp_path)
    assert file.read_text() != first
    assert [entry.name for entry in tmp_path.iterdir()] == ["web-password.json"]


@pytest.mark.parametrize("password", ["", "short", "x" * 1025, "with\ttab inside"])
def test_a_password_that_is_none_is_refused(password: str, tmp_path: Path) -> None:
    """One line with what is expected, without what was typed; nothing is stored."""
    got = set_password(tmp_path, password)
    assert (got.returncode, got.stderr.count("\n")) == (78, 1)
    assert "8 to 1024 printable characters" in got.stderr
    assert not password or password not in got.stderr
    assert list(tmp_path.iterdir()) == []


def test_on_a_terminal_the_password_is_typed_twice_unseen(tmp_path: Path) -> None:
    """Two that differ are refused; nothing typed appears."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "edge", "web", "--set-password"],
        cwd=ROOT,
        env={**os.environ, "STATE_DIRECTORY": str(tmp_path)},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    seen = b""
    try:
        for prompt, answer in ((b"New password", b"first password\n"), (b"Again", b"second one\n")):
            while prompt not in seen:
                seen += os.read(master, 1024)
            os.write(master, answer)
        assert process.wait(WAIT_S) == 78
        seen += os.read(master, 4096)
    finally:
        process.kill()
        os.close(master)
    assert b"the two passwords differ" in seen
    assert b"first password" not in seen
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_the_place_of_the_password_is_not_followed(tmp_path: Path) -> None:
    """What root writes there replaces the link, never what it points to."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "web-password.json").symlink_to(victim)
    (folder / ".web-password.json.part").symlink_to(victim)
    assert set_password(folder).returncode == 0
    assert victim.read_text() == "precious"
    assert not (folder / "web-password.json").is_symlink()


def test_a_token_is_shown_once_and_lets_in_without_a_header(locked: Web, tmp_path: Path) -> None:
    """Made, used, removed while the server runs; its name is in the audit, its text nowhere."""
    env = {**os.environ, "STATE_DIRECTORY": str(tmp_path)}
    made = edge("web", "--new-token", "grafana", env=env)
    token = made.stdout.strip()
    assert re.fullmatch(r"edge_[\w-]{43}", token)
    file = tmp_path / "web-tokens.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert token not in file.read_text()
    bearer = {"Authorization": f"Bearer {token}"}
    assert locked.send("GET", "/api/state", None, bearer).status == 200
    assert locked.send("POST", "/api/request/pause", b"{}", bearer).status == 200
    assert "by token grafana, from 127.0.0.1: ok" in locked.log.read_text()
    assert token not in locked.log.read_text()
    again = edge("web", "--new-token", "grafana", env=env)
    assert (again.returncode, again.stderr.count("\n")) == (78, 1)
    assert edge("web", "--remove-token", "grafana", env=env).returncode == 0
    assert locked.send("GET", "/api/state", None, bearer).status == 401
    assert edge("web", "--remove-token", "grafana", env=env).returncode == 78
    file.write_text("[1]")
    assert locked.send("GET", "/api/state", None, bearer).status == 403


def test_a_credential_of_systemd_is_the_password(tmp_path: Path, web: Serve) -> None:
    """Its first line; the unit's empty default counts as none."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "web-password").write_text(PASSWORD + "\n")
    server = web(CREDENTIALS_DIRECTORY=str(folder)).ready()
    assert server.ask("/api/state").status == 401
    assert log_in(server).status == 200
    (folder / "web-password").write_text("\n")
    assert web(CREDENTIALS_DIRECTORY=str(folder)).ready().ask("/api/state").status == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_without_a_password_only_this_machine_is_served(
    host: str, tmp_path: Path, web: Serve
) -> None:
    """Refused with status 78 and a hint; with a password it listens."""
    env = {**os.environ, "STATE_DIRECTORY": str(tmp_path)}
    got = edge("web", "--host", host, "--port", "0", env=env)
    assert (got.returncode, got.stderr.count("\n")) == (78, 1)
    assert "--set-password" in got.stderr
    set_password(tmp_path)
    assert web("--host", host).ready().ask("/api/state").status == 401


def test_without_a_password_no_proxy_is_served(web: Serve) -> None:
    """A proxy on this machine would pass the whole network on as this machine."""
    server = web().ready()
    for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"):
        assert server.send("GET", "/api/state", None, {header: "1.2.3.4"}).status == 403
    behind = web("--proxy").ready()
    got = behind.send("GET", "/api/state", None, {"X-Forwarded-For": "1.2.3.4"})
    assert got.status == 403
    assert behind.ask("/api/state").status == 403  # a proxy may have forgotten the header


def test_behind_a_proxy_each_client_has_its_own_limits(tmp_path: Path, web: Serve) -> None:
    """The address is the proxy's word, and HTTPS there makes the cookie one for HTTPS."""
    set_password(tmp_path)
    server = web("--proxy").ready()
    far = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
    for _ in range(5):
        assert log_in(server, "wrong password", **far).status == 401
    assert log_in(server, **far).status == 429
    other = {"X-Forwarded-For": "203.0.113.8", "X-Forwarded-Proto": "https"}
    assert "Secure" in log_in(server, **other).headers["set-cookie"].split("; ")
    assert "from 203.0.113.7" in server.log.read_text()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("127.0.0.1:9", 200),
        ("[::1]:8080", 200),
        (f"{socket.gethostname()}.local:8080", 200),
        ("camera.lan", 200),
        ("192.0.2.1", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("camera.lan.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("evil.example@localhost.", 200),
        ("", 421),
        ("[", 421),
        ("a b", 421),
    ],
)
def test_names_of_strangers_are_refused(host: str, status: int, web: Serve) -> None:
    """As DNS rebinding would have them: a page of another name never reaches the API."""
    server = web("--name", "camera.lan").ready()
    request = f"GET /api/state HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    with server.raw(request.encode()) as connection:
        assert connection.makefile("rb").readline().split()[1] == str(status).encode()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Edge-Request": "yes"},
        {"Origin": "http://evil.example", **ASK},
        {"Origin": "null", **ASK},
        {"Origin": "https://127.0.0.1:{port}", **ASK},
        {"Origin": "http://127.0.0.1:1", **ASK},
        {"Sec-Fetch-Site": "cross-site", **ASK},
        {"Sec-Fetch-Site": "same-site", **ASK},
    ],
)
@pytest.mark.parametrize("with_password", [False, True])
def test_a_page_of_another_site_changes_nothing(
    headers: dict[str, str], with_password: bool, tmp_path: Path, web: Serve, fake: Fake
) -> None:
    """What a browser sends by itself, cookie included, is not enough."""
    device = fake(said("state", label="red"))
    if with_password:
        set_password(tmp_path)
    server = web().ready()
    mine = session(server) if with_password else {}
    sent = {name: value.format(port=server.port) for name, value in {**headers, **mine}.items()}
    for path in ("/api/request/reload", "/api/logout"):
        assert server.send("POST", path, b"{}", sent).status == 403
    if headers.keys() & {"Origin", "Sec-Fetch-Site"}:
        kind = {"Content-Type": "application/octet-stream"}
        assert server.send("POST", "/api/predict", b"x", {**sent, **kind}).status == 403
    assert device.received == []
    good = {"Origin": f"http://127.0.0.1:{server.port}", "Sec-Fetch-Site": "same-origin"}
    assert server.send("POST", "/api/logout", b"", {**good, **mine, **ASK}).status == 200


def test_an_element_of_another_site_gets_nothing(web: Serve) -> None:
    """A picture or a stream in a foreign page is refused, a link to this page is not."""
    server = web().ready()
    far = {"Sec-Fetch-Site": "cross-site"}
    for path in ("/snapshot.jpg", "/api/live", "/api/state", "/"):
        assert server.send("GET", path, None, {**far, "Sec-Fetch-Mode": "no-cors"}).status == 403
    assert server.send("GET", "/", None, {**far, "Sec-Fetch-Mode": "navigate"}).status == 200


def test_every_answer_has_the_headers_that_protect_it(locked: Web) -> None:
    """Pages, answers and errors of each kind; nothing allows another origin."""
    for got in (
        locked.ask("/"),
        locked.ask("/api/session"),
        locked.ask("/api/state"),
        locked.ask("/nothing"),
        locked.ask("/api/state", method="OPTIONS", origin="http://evil.example"),
        locked.ask("/api/login", b"x" * 20_000),
        locked.ask("/api/state", host="evil.example"),
    ):
        policy = got.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert got.headers["x-content-type-options"] == "nosniff"
        assert got.headers["referrer-policy"] == "no-referrer"
        assert got.headers["cache-control"] in ("no-store", "no-cache")
        assert not any(name.startswith("access-control") for name in got.headers)
        assert "server" not in got.headers


def test_a_secret_of_the_config_is_in_no_answer(
    tmp_path: Path, daemon: Callable[..., object], web: Serve, rgb: Path
) -> None:
    """Passwords of broker and camera, the page's, and what is made of it."""
    (tmp_path / "mqtt-password").write_text("broker-secret\n")
    config = f"""
[local]
path = "{tmp_path}/edge.sock"
[mqtt]
username = "me"
password_file = "{tmp_path}/mqtt-password"
"""
    set_password(tmp_path)
    daemon("--source", "synthetic", "--model", rgb, config=config)
    server = web(config=config).ready()
    mine = session(server)
    wait_until(lambda: b'"red"' in server.send("GET", "/api/info", None, mine).body)
    secrets = [b"broker-secret", PASSWORD.encode(), (tmp_path / "web-password.json").read_bytes()]
    for path in server.ask("/openapi.json").json()["paths"]:
        if path == "/api/live":
            continue
        for method, body in (("GET", None), ("POST", b"{}")):
            got = server.send(method, path, body, {**mine, **ASK})
            assert not any(secret in got.body for secret in secrets)
            mine = mine if path != "/api/logout" else session(server)


@pytest.mark.parametrize(
    "head",
    [
        b"POST /api/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n",
        b"POST /api/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n",
        b"POST /api/login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n",
        b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
        b"Content-Length: 1000000000\r\n",
        b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
        b"Transfer-Encoding: chunked\r\n",
        b"POST /api/cases/upload HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000000000\r\n",
        b"POST /api/cases/upload HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\nTransfer-Encoding: chunked\r\n",
        b"POST /api/settings HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n",
        b"GET /api/state HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n",
    ],
)
def test_a_body_of_a_gigabyte_is_cut_off(head: bytes, web: Serve) -> None:
    """413 and a closed connection, at the limit or at once; memory does not follow."""
    server = web().ready()
    server.ask("/healthz")
    before = server.rss_bytes()
    piece = b"x" * 65_536
    if b"chunked" in head:
        piece = b"10000\r\n" + piece + b"\r\n"
    answer, sent = b"", 0
    with server.raw(head + b"X-Edge-Request: 1\r\n\r\n") as connection:
        try:
            while sent < 1_000_000_000:
                connection.sendall(piece)
                sent += len(piece)
        except OSError:  # it has closed: what it said may still be there to read
            pass
        try:
            answer = connection.recv(65_536)
        except OSError:
            answer = b""
    assert sent < 100_000_000
    assert not answer or answer.split()[1] in (b"413", b"400")
    assert server.rss_bytes(peak=True) - before < 60_000_000
    assert server.ask("/healthz").status == 200


def drip(connection: socket.socket) -> None:
    """Send a byte at a time, each in time, until the other end has closed."""
    with contextlib.suppress(OSError):
        while True:
            connection.sendall(b"x")
            time.sleep(0.1)


def test_slow_clients_are_cut_off(tmp_path: Path, fake: Fake) -> None:
    """A head or a body that does not go on, or a byte at a time: it ends; others are served."""
    script = (
        "import sys; from edge.web import guard, serve\n"
        "guard.PIECE_S, guard.BODY_S, guard.SEND_S = 0.5, 1.5, 0.5\n"
        "serve.FIRST_S, serve.CLOSING_S, serve.TEND_S = 1.0, 0.5, 0.2\n"
        "sys.argv = ['edge', *sys.argv[1:]]\n"
        "from edge.__main__ import leave; leave()"
    )
    (tmp_path / "web.toml").write_text(f'[local]\npath = "{tmp_path}/edge.sock"\n')
    fake(said("state", label="red"))
    server = Web.__new__(Web)
    server.log = tmp_path / "web-0.log"
    with server.log.open("wb") as log:
        server.process = subprocess.Popen(
            [sys.executable, "-c", script, "web", "--port", "0", "--config", tmp_path / "web.toml"],
            cwd=ROOT,
            stderr=log,
            env={**os.environ, "STATE_DIRECTORY": str(tmp_path)},
        )
    try:
        server.ready()
        heads = [
            b"",
            b"GET / HTTP/1.1\r\nHost: local",
            b"POST /api/login HTTP/1.1\r\nHost: localhost\r\nX-Edge-Request: 1\r\n"
            b"Content-Length: 100\r\n\r\n{",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ",
            b"POST /api/cases/upload HTTP/1.1\r\nHost: localhost\r\nX-Edge-Request: 1\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 9999\r\n\r\n--x",
        ]
        connections = [server.raw(head) for head in heads]
        for connection in connections[3:]:
            threading.Thread(target=drip, args=(connection,), daemon=True).start()
        assert server.ask("/healthz").status == 200
        answers = []
        for connection in connections:
            with connection:
                try:
                    answers.append(connection.makefile("rb").read())
                except ConnectionResetError:
                    answers.append(b"")
        assert answers[:2] == [b"", b""]
        assert answers[2].split()[1] == b"408"
        assert answers[3] == b""
        assert not answers[4] or answers[4].split()[1] == b"408"
        assert server.log.read_text().count("Traceback") == 0
    finally:
        server.process.kill()
        server.process.wait()


def test_a_password_is_hashed_with_the_recommended_work() -> None:
    """Whatever is compared with it, also one that differs in its last character alone."""
    hashed = password.hashed(PASSWORD)
    assert (hashed.n, hashed.r, hashed.p) == (2**14, 8, 5)
    assert hashed.fits(PASSWORD)
    for wrong in ("", "x", PASSWORD[:-1], PASSWORD + "x", "\ud800"):
        assert not hashed.fits(wrong)


def test_the_page_s_own_form_can_log_in(locked: Web) -> None:
    """What a browser sends from it passes every check."""
    own = f"http://127.0.0.1:{locked.port}"
    got = log_in(locked, **{"Origin": own, "Sec-Fetch-Site": "same-origin", "Referer": own})
    assert got.status == 200
    assert locked.send("POST", "/api/login", b"[", ASK).status == 400
