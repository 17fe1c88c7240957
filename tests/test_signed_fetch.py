"""Signed bundles from real servers, http and https: by the command, and by request over MQTT."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from deploy.broker import PrivateBroker
from edge import config as configs
from edge.config import bundles
from edge.contract import schema
from edge.errors import ConfigError, EdgeError, FetchError, ModelError
from edge.model import store
from edge.model.signed import add, download, fetch
from edge.model.signed.add import Added
from edge.model.signed.fetch_child import LIMIT_S
from edge.web.teach_results import Result, Results
from tests.bundle_server import Server
from tests.certificates import Authority
from tests.conftest import ROOT, Daemon, Listener, edge, wait_until
from tests.signing import Site, named, new_key
from tests.test_control import Asker, online


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A key, and a device that trusts it."""
    made = Site(tmp_path)
    monkeypatch.setenv("STATE_DIRECTORY", str(made.state))
    return made


@pytest.fixture
def server(site: Site) -> Iterator[Server]:
    """A server with a good bundle."""
    running = Server(site.bundle(site.model()))
    yield running
    running.close()


@pytest.fixture
def secure(site: Site) -> Iterator[Server]:
    """The same over TLS, with a certificate of an authority of its own: ca.crt."""
    running = Server(site.bundle(site.model()), Authority(site.folder, "ca"), site.folder)
    yield running
    running.close()


def get(site: Site, url: str, limit_s: float = 20.0, **options: Any) -> Added:
    """Add what is at an address, as the command does."""
    config = configs.load(site.config)
    source = download.opened(url, limit_s=limit_s, ca_file=config.bundles.ca_file, **options)
    return add.add(source, url, add.policy(config))


@pytest.mark.parametrize("name", ["good", "chunked", "unstated", "hop", "hop-endless", "good?x=1"])
def test_a_bundle_is_added_from_an_address(site: Site, server: Server, name: str) -> None:
    """Whatever way its length is stated; through a redirect, whose body is not read."""
    assert get(site, server.url(name)).name == "hues@1"
    assert server.sent < 10_000_000
    for _, headers in server.asked:
        assert not {"Cookie", "Authorization", "Referer"} & headers.keys()


FAULTS = [
    ("cut", FetchError, "the server ends before the bundle does"),
    ("chunk-cut", FetchError, "cannot be fetched"),
    ("short", ModelError, "cut off"),
    ("negative", FetchError, "states no length"),
    ("endless", ModelError, "not a signed bundle"),
    ("after", ModelError, "more follows"),
    ("drip", FetchError, "takes longer than 3 s"),
    ("drip-head", FetchError, "takes longer than 3 s"),
    ("silent", FetchError, "no answer for 1 s"),
    ("gzip", FetchError, "does not send the file itself"),
    ("nonsense", FetchError, "cannot be fetched"),
    ("nothing", FetchError, "cannot be fetched"),
    ("loop", FetchError, "more than 3 redirects"),
    ("file", FetchError, "redirects to what is no address"),
    ("login", FetchError, "redirects to what is no address"),
    ("nowhere", FetchError, "redirects"),
    ("error", FetchError, "the server says 503"),
    ("missing", FetchError, "the server says 404"),
]


@pytest.mark.parametrize(
    ("name", "kind", "match"),
    FAULTS,
    ids=lambda v: str(v)[:12],
)
def test_a_server_with_a_fault_is_one_line(
    site: Site,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    kind: type[EdgeError],
    match: str,
) -> None:
    """Nothing is installed, no record is written, and little of an endless answer is read."""
    monkeypatch.setattr(download, "SILENCE_S", 1.0)
    before = site.on_device()
    with pytest.raises(kind, match=match) as raised:
        get(site, server.url(name), limit_s=3.0)
    assert "\n" not in str(raised.value)
    assert site.on_device() == before
    assert server.sent < 10_000_000
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_length_that_is_too_long_is_noticed(site: Site, server: Server) -> None:
    """The bundle is whole, but the server had promised more."""
    with pytest.raises(FetchError, match="ends before the bundle does"):
        get(site, server.url("long"))
    assert not store.listing()


def test_nobody_answers(site: Site) -> None:
    """A closed port, a name that is none: status 69, one line."""
    for url in ("http://127.0.0.1:1/x", "http://nowhere.invalid/x"):
        done = edge("models", "add", url, "--config", site.config)
        assert (done.returncode, len(done.stderr.splitlines())) == (69, 1), done.stderr
    assert not store.listing()


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/x",
        "file:///etc/passwd",
        "http://u:p@127.0.0.1/x",
        "http:///x",
        "http://127.0.0.1:99999/x",
        "http://127.0.0.1:0/x",
        "http://127.0.0.1/a/../x",
        "http://127.0.0.1/%2e%2e/x",
        "http://127.0.0.1/a%2Fb",
        "http://127.0.0.1\\@evil/",
        "http://127.0.0.1/x#y",
        "http://127.0.0.1/x y",
        "http://127.0.0.1/x\r\nHost: evil",
        "http://[::1/x",
        "http://ä/x",
        "http://127.0.0.1/" + "x" * 2000,
    ],
)
def test_what_is_no_address_is_refused_before_anything_is_sent(url: str) -> None:
    """Other schemes, logins, ways up, control characters, too long: one line, without a login."""
    with pytest.raises(ConfigError) as raised, download.opened(url):
        pass
    assert "\n" not in str(raised.value)
    assert "p@" not in str(raised.value)


def test_without_a_key_no_server_is_asked(site: Site, server: Server) -> None:
    """The line says how to get one."""
    (site.keys / "site.pem").unlink()
    done = edge("models", "add", server.url("good"), "--config", site.config)
    assert (done.returncode, "no key is trusted" in done.stderr) == (78, True)
    assert server.asked == []


def test_an_unsigned_flood_is_cut_off_after_its_first_bytes(site: Site, server: Server) -> None:
    """Signed by a stranger, and followed without end: nothing reaches the disk."""
    stranger = new_key(site.folder / "stranger", "stranger")
    server.content = site.bundle(site.model(), 100, stranger)
    with pytest.raises(ModelError, match="by no key that is trusted"):
        get(site, server.url("after"))
    assert not list((site.state / "models").iterdir())
    assert server.sent < 10_000_000


def test_https_is_verified(site: Site, secure: Server, server: Server) -> None:
    """Refused without its authority, and for another name; by the command with it: added."""
    with pytest.raises(FetchError, match=r"certificate verify failed.*bundles\.ca_file names"):
        get(site, secure.url("good"))
    site.lines = f'bundles.ca_file = "{site.folder}/ca.crt"\n'
    with pytest.raises(FetchError, match="certificate verify failed"):
        get(site, secure.url("good").replace("127.0.0.1", "localhost"))
    secure.other = server.root
    with pytest.raises(FetchError, match="from https to http"):
        get(site, secure.url("out"))
    done = edge("models", "add", secure.url("good"), "--config", site.config, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["changed"] is True
    site.lines = 'bundles.ca_file = "/nowhere.crt"\n'
    with pytest.raises(ConfigError, match="authorities cannot be used"):
        get(site, secure.url("good"))


def test_a_prefix_is_compared_in_parts() -> None:
    """Neither another host, port or scheme nor another folder is below it."""
    prefixes = ("https://a.example/gate/", "http://10.0.0.1:8000/")
    good = (
        "https://a.example/gate/x",
        "https://A.example:443/gate/b/c?d",
        "http://10.0.0.1:8000/x",
    )
    bad = (
        *("http://a.example/gate/x", "https://a.example/gate", "https://a.example/gated/x"),
        *("https://a.example.org/gate/x", "https://a.example:444/gate/x", "http://10.0.0.1/x"),
        *("https://b.example/gate/x", "https://a.example/", "http://10.0.0.1:80/8000/"),
    )
    assert all(bundles.is_below(bundles.split(url, "url"), prefixes) for url in good)
    assert not any(bundles.is_below(bundles.split(url, "url"), prefixes) for url in bad)
    for prefix in (
        "https://a.example",
        "a.example/",
        "https://a.example/x",
        "ftp://a/",
        "http://a/?x/",
    ):
        with pytest.raises(ConfigError, match="bundles"):
            bundles.BundlesConfig(fetch=(prefix,)).check("edge.toml: bundles")


# By request.

Start = Callable[..., Daemon]


def start(site: Site, broker: PrivateBroker, daemon: Start, rgb: Path) -> Daemon:
    """Return the daemon on this device, with ``site.lines`` in its config."""
    running = daemon(
        *("--source", "synthetic", "--broker", broker.address, "--model", rgb),
        config=f"publish.telemetry_interval_s = 0.5\n{site.text}",
        STATE_DIRECTORY=str(site.state),
    )
    online(broker)
    return running


def ask(broker: PrivateBroker, **body: Any) -> Any:
    """Return the answer to one request `model`."""
    asker = Asker(broker)
    try:
        return asker.ask("model", body)
    finally:
        asker.close()


def test_a_request_fetches_a_bundle_and_another_uses_it(
    site: Site, server: Server, broker: PrivateBroker, daemon: Start, tmp_path: Path
) -> None:
    """In the end an event, an answer with its figures, and the model at work."""
    site.lines = f'bundles.fetch = ["{server.root}/models/"]\n'
    running = daemon(
        *("--source", "synthetic", "--broker", broker.address),
        config=site.text,
        STATE_DIRECTORY=str(site.state),
    )
    online(broker)
    listener = Listener(broker)
    sha256 = hashlib.sha256(server.content).hexdigest()
    answer = ask(broker, action="fetch", url=server.url("hop"), sha256=sha256, transaction=5)
    assert (answer["status"], answer["error"], answer["transaction"]) == ("ok", "", 5)
    assert (answer["data"]["name"], answer["data"]["serial"]) == ("hues@1", 100)
    assert answer["data"]["changed"] is True
    listener.wait_for(lambda: "model_added" in [e["type"] for e in listener.payloads("event")])
    event = next(e for e in listener.payloads("event") if e["type"] == "model_added")
    jsonschema.validate(event, schema()["event"])
    assert event["evidence"]["url"] == server.url("hop")
    again = ask(broker, action="fetch", url=server.url("good"))
    assert (again["status"], again["data"]["changed"]) == ("ok", False)
    assert ask(broker, action="use", name="hues")["status"] == "ok"
    assert ask(broker)["data"]["in_use"] == "hues@1"
    assert ask(broker)["data"]["fetching"] is None
    assert running.process.poll() is None
    listener.close()


def test_a_request_that_is_not_allowed_asks_no_server(
    site: Site, server: Server, broker: PrivateBroker, daemon: Start, rgb: Path
) -> None:
    """Another host, another folder, no address; and everything where fetching is off."""
    site.lines = f'bundles.fetch = ["{server.root}/models/"]\n'
    running = start(site, broker, daemon, rgb)
    for url in (
        *("", f"{server.root}/secret/good", "http://localhost:1/models/good", "/etc/passwd"),
        *(f"{server.root}/models/../secret/good", server.url("good").replace("//", "//u:p@")),
    ):
        answer = ask(broker, action="fetch", url=url)
        assert answer["status"] == "error"
        assert "\n" not in answer["error"]
    assert "sha256" in ask(broker, action="fetch", url=server.url("good"), sha256="12")["error"]
    assert server.asked == []
    for name, asked in (("out", 1), ("up", 2)):  # a redirect away from what is allowed
        server.other = "http://localhost:1"
        answer = ask(broker, action="fetch", url=server.url(name))
        assert "not allowed" in answer["error"]
        assert len(server.asked) == asked
    (site.keys / "site.pem").rename(site.keys / "site.off")
    answer = ask(broker, action="fetch", url=server.url("good"))
    assert "no key is trusted" in answer["error"]
    assert len(server.asked) == 2
    site.lines = ""
    (site.folder / "edge.toml").write_text(site.text)
    assert ask_reload(broker)["status"] == "ok"
    answer = ask(broker, action="fetch", url=server.url("good"))
    assert "no model is fetched" in answer["error"]
    assert len(server.asked) == 2
    assert not store.listing()
    assert running.process.poll() is None


def ask_reload(broker: PrivateBroker) -> Any:
    """Return the answer to `reload`."""
    asker = Asker(broker)
    try:
        return asker.ask("reload")
    finally:
        asker.close()


def test_frames_go_on_while_a_server_is_slow_and_one_is_fetched_at_a_time(
    site: Site, server: Server, broker: PrivateBroker, daemon: Start, rgb: Path
) -> None:
    """The loop never waits; a second request is refused; the end of the daemon ends the child."""
    site.lines = f'bundles.fetch = ["{server.root}/models/"]\n'
    running = start(site, broker, daemon, rgb)
    asker = Asker(broker)
    asker.send("model", {"action": "fetch", "url": server.url("drip")})
    wait_until(lambda: bool(server.asked))
    answer = asker.ask("model", {"action": "fetch", "url": server.url("good")})
    assert "another model is being fetched" in answer["error"]
    assert asker.ask("model")["data"]["fetching"] == server.url("drip")
    first = asker.ask("stats")["data"]["frames_total"]
    wait_until(lambda: asker.ask("stats")["data"]["frames_total"] > first + 3)
    assert len(server.asked) == 1
    task = Path(f"/proc/{running.process.pid}/task")
    children = [one for file in task.glob("*/children") for one in file.read_text().split()]
    [child] = [one for one in children if "fetch_child" in cmdline(one)]
    assert running.stop() == 0
    wait_until(lambda: not cmdline(child))
    asker.close()


def cmdline(process: str) -> str:
    """Return how a process was started; empty where it has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text()
    except OSError:
        return ""


def test_a_refused_bundle_is_an_answer_and_an_event(
    site: Site, server: Server, broker: PrivateBroker, daemon: Start, rgb: Path
) -> None:
    """An older serial; a stranger's; another sha256: the device is as it was."""
    site.lines = f'bundles.fetch = ["{server.root}/models/"]\n'
    server.content = site.bundle(site.model(version="2"), 200)
    start(site, broker, daemon, rgb)
    listener = Listener(broker)
    assert ask(broker, action="fetch", url=server.url("good"))["status"] == "ok"
    before = site.on_device()
    url = server.url("good")
    wrong = ask(broker, action="fetch", url=url, sha256="0" * 64)
    assert "another bundle than the one asked for" in wrong["error"]
    server.content = site.bundle(site.model(version="1"), 100)
    assert "serial above 200" in ask(broker, action="fetch", url=url)["error"]
    stranger = new_key(site.folder / "stranger", "stranger")
    server.content = site.bundle(site.model(version="3"), 300, stranger)
    assert "no key that is trusted" in ask(broker, action="fetch", url=url)["error"]
    assert "503" in ask(broker, action="fetch", url=server.url("error"))["error"]
    assert site.on_device() == before
    kinds = [event["type"] for event in listener.payloads("event")]
    listener.wait_for(
        lambda: [e["type"] for e in listener.payloads("event")].count("model_refused") == 4
    )
    assert kinds.count("model_added") == 1
    listener.close()


def test_the_daemon_imports_neither_http_nor_tls_for_it() -> None:
    """The child does; the daemon's side knows only the request and the answer."""
    code = (
        "from edge import lean; lean.begin(); import sys, edge.daemon.fetching;"
        "print(*(name for name, module in sys.modules.items() if type(module) is not lean._Module))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = {*done.stdout.split()}
    assert "edge.model.signed.fetch" in loaded
    heavy = {"ssl", "urllib.request", "http.client", "edge.model.signed.download"}
    assert not heavy & loaded


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("os.kill(os.getpid(), 9)", "SIGKILL"),
        ("sys.exit(3)", "status 3"),
        ("print('nonsense'); sys.stdout.flush(); os._exit(0)", "status 0"),
        ("time.sleep(100)", "takes longer than"),
    ],
)
def test_a_child_that_dies_or_hangs_is_one_line(
    site: Site, monkeypatch: pytest.MonkeyPatch, fault: str, words: str
) -> None:
    """The daemon's side of it goes on."""
    monkeypatch.setattr(fetch, "CODE", f"import os, sys, time; {fault}")
    monkeypatch.setattr(fetch, "LATER_S", 2.0 - LIMIT_S)
    one = fetch.Fetch(configs.load(site.config), "http://127.0.0.1:1/x", "")

    def over() -> bool:
        while one.poll() is None:
            time.sleep(0.02)
        return True

    with pytest.raises(EdgeError, match=words) as raised:
        over()
    assert "\n" not in str(raised.value)
    one.close()


def test_the_page_cannot_change_what_is_trusted(site: Site, web: Callable[..., Any]) -> None:
    """Neither by its settings nor by what it persists; the daemon publishes the table."""
    from tests.web_server import ASK

    server = web(config=site.text).ready()
    body = json.dumps({"bundles": {"fetch": ["http://127.0.0.1/"]}})
    answer = server.send("POST", "/api/settings", body, ASK)
    assert (answer.status, "bundles: cannot be set here" in answer.json()["error"]) == (400, True)
    assert "bundles" not in server.ask("/api/settings").json()["reloadable"]


def test_signed_only_lets_the_page_teach_and_not_install(
    site: Site, web: Callable[..., Any], tmp_path: Path
) -> None:
    """What was taught stays; the line says why it is not added. Without the key it is added."""
    from tests.web_server import ASK

    results = Results(tmp_path)
    folder, job = results.begin()
    named(results.job(job), "gate", "1")
    results.write(folder, Result(job, "gate", "1", 1.0, {}))
    folder.close()
    site.lines = "bundles.signed_only = true\n"
    server = web(config=site.text).ready()
    refusal = server.send("POST", "/api/teach/install", "{}", ASK)
    assert (refusal.status, "adds signed models only" in refusal.json()["error"]) == (409, True)
    assert not (tmp_path / "models").exists()
    site.lines = ""
    server.config.write_text(site.text)
    answer = server.send("POST", "/api/teach/install", "{}", ASK)
    assert (answer.status, answer.json()) == (200, {"model": "gate@1"})
