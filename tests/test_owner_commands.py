"""What root changes in the folder of another user: as that user, and nothing elsewhere."""

from __future__ import annotations

import contextlib
import http.server
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.model.signed import serials
from tests.case_files import fill
from tests.certificates import Authority
from tests.conftest import WAIT_S, edge, wait_until
from tests.other_user import FOR_ROOT, USER, as_other, give, owners, reachable, tree
from tests.signing import Site, new_key
from tests.web_server import Web

pytestmark = FOR_ROOT


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that every user may enter."""
    with reachable() as folder:
        yield folder


@pytest.fixture
def site(home: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A device whose state is the other user's; models, keys and config only root can read."""
    private = home / "private"
    private.mkdir(mode=0o700)
    made = Site(private)
    made.state = give(home / "state")
    monkeypatch.setenv("STATE_DIRECTORY", str(made.state))
    return made


def test_what_root_adds_is_made_by_the_owner_from_what_only_root_can_read(site: Site) -> None:
    """A signed bundle and a folder; nothing is given away afterwards: it was never root's."""
    for path in (site.write(site.bundle(site.model())), site.model("greys")):
        done = edge("models", "add", path, "--json", "--config", site.config)
        assert done.returncode == 0, done.stderr
        assert owners(site.state) == {(USER, USER)}
    assert {*installed(site)} == {"hues@1", "greys@1"}
    modes = {path.stat().st_mode & 0o777 for path in (site.state / "models").rglob("*")}
    assert modes == {0o755, 0o644}
    done = edge("models", "remove", "greys@1", "--config", site.config)
    assert done.returncode == 0, done.stderr
    assert [*installed(site)] == ["hues@1"]


def installed(site: Site) -> list[str]:
    """Return the names in the store."""
    return [path.name for path in (site.state / "models").iterdir()]


def test_what_is_not_the_models_stays_roots(site: Site, home: Path) -> None:
    """By a link to a folder of secrets, with a card and without; and beside a model's files."""
    secrets = home / "secrets"
    secrets.mkdir(mode=0o700)
    (secrets / "id").write_text("secret 4711")
    (secrets / "id").chmod(0o600)
    link = home / "link"
    link.symlink_to(secrets)
    folder = site.model()
    for path in folder.iterdir():
        path.chmod(0o600)
    before = tree(site.state)

    def refused(path: Path, line: str) -> None:
        done = edge("models", "add", path, "--config", site.config)
        assert (done.returncode, done.stderr.count("\n")) == (78, 1), done.stderr
        assert line in done.stderr
        assert tree(site.state) == before

    refused(link, f"{link}: model not found")
    (secrets / "model.toml").write_text("id = 1\n")
    refused(link, "model.toml")
    (folder / "id").write_text("secret 4711")
    (folder / "id").chmod(0o600)
    refused(folder, f"{folder}/id: is private")
    card = (folder / "model.toml").read_text()
    (folder / "model.toml").write_text(card.replace("uint8io.tflite", "id"))
    os.chown(folder / "model.toml", 4242, 4242)  # somebody else's card names it
    refused(folder, f"{folder}/id: is private")
    os.chown(folder / "model.toml", 0, 0)
    (folder / "model.toml").write_text(card)
    (folder / "id").chmod(0o604)
    assert edge("models", "add", folder, "--config", site.config).returncode == 0


def test_a_bundle_of_another_key_or_changed_is_refused_as_ever(site: Site) -> None:
    """And an older one, which root may allow: that is decided while it is root."""
    good = site.bundle(site.model(version="2"), 200)
    forged = site.bundle(site.model(), key=new_key(site.folder / "other", "other"))
    for content, line in ((forged, "by no key"), (good[:-2000] + b"x" * 2000, "signed|go on")):
        done = edge("models", "add", site.write(content), "--config", site.config)
        assert done.returncode == 78, line
        assert site.on_device() == {}
    assert edge("models", "add", site.write(good), "--config", site.config).returncode == 0
    old = ("models", "add", site.write(site.bundle(site.model())), "--config", site.config)
    assert "not newer" in edge(*old).stderr
    assert edge(*old, "--allow-downgrade").returncode == 0
    assert owners(site.state) == {(USER, USER)}


SWAP = """
import sys
from pathlib import Path
models, victim = map(Path, sys.argv[1:])
(workspace,) = models.glob(".add-*")
workspace.rename(models / ".aside")
workspace.symlink_to(victim)
"""


def test_a_workspace_that_is_swapped_leads_root_nowhere(site: Site, home: Path) -> None:
    """Between two files of a bundle, the owner puts a link to a folder of root's in its place."""
    content = site.bundle(site.model())
    victim = home / "victim"
    (victim / "model").mkdir(parents=True)
    victim.chmod(0o700)
    for name in ("model.toml", "secret"):
        path = victim / "model" / name
        path.write_bytes((site.folder / "model-1" / "model.toml").read_bytes())
        path.chmod(0o600)
    before, swapped = tree(victim), threading.Event()

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            at = content.index(b"[output]")  # in the first file
            self.wfile.write(content[:at])
            swapped.wait(60)
            self.wfile.write(content[at:])

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def swap() -> None:
        models = site.state / "models"
        wait_until(lambda: bool([*models.glob(".add-*/model/model.toml")]))
        as_other("-c", SWAP, models, victim)
        swapped.set()

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/hues.edgemodel"
        done = edge("models", "add", url, "--config", site.config)
    finally:
        thread.join()
        server.shutdown()
        server.server_close()
    assert (site.state / "models" / ".aside").is_dir(), "nothing was swapped"
    assert tree(victim) == before
    assert (done.returncode, done.stderr.count("\n")) == (78, 1), done.stderr
    assert "hues@1" not in installed(site)


@pytest.mark.parametrize("name", ["models", serials.NAME, f".{serials.NAME}.part", "proven.json"])
def test_a_link_in_the_state_leads_root_nowhere(site: Site, home: Path, name: str) -> None:
    """To a folder or a file of root's: no verb that writes follows one."""
    victim = home / "victim"
    victim.mkdir()
    (victim / "file").write_text("{}")
    before = tree(victim)
    target = victim if name == "models" else victim / "file"
    (site.state / name).symlink_to(target)
    os.chown(site.state / name, USER, USER, follow_symlinks=False)
    for path in (site.model(), site.write(site.bundle(site.model("other")))):
        done = edge("models", "add", path, "--config", site.config)
        assert done.returncode in (0, 78), done.stderr
    assert tree(victim) == before


def test_every_command_that_changes_the_state_is_the_owners(site: Site) -> None:
    """Password, token, cases: each makes a file, and none is root's."""
    for words, typed in (
        (("web", "--set-password"), "a long password\n"),
        (("web", "--new-token", "one"), ""),
        (("web", "--remove-token", "one"), ""),
    ):
        assert edge(*words, input=typed).returncode == 0
    cases = site.state / "cases"
    names = fill(site.folder / "cases", 3, "open")
    archive = site.folder / "a.tar"
    assert edge("cases", "export", archive, "--folder", site.folder / "cases").returncode == 0
    for line in (f"import {archive}", f"sort {names[0]} shut", "purge --unsorted"):
        done = edge("cases", *line.split(), "--config", site.config)
        assert done.returncode == 0, done.stderr
    done = edge("cases", "export", site.folder / "b.tar", "--config", site.config)
    assert done.returncode == 0, done.stderr
    assert (site.folder / "b.tar").stat().st_uid == 0
    assert sorted(path.name for path in (cases / "sorted").iterdir()) == ["open", "shut"]
    assert owners(site.state) == {(USER, USER)}


def test_root_serves_what_only_root_may_open(site: Site) -> None:
    """A config, a key and a port below 1024, as the owner of the state."""
    private = site.folder
    authority = Authority(private, "authority")
    pair = authority.sign("device", address="DNS:localhost")
    pair.key.chmod(0o600)
    with contextlib.closing(socket.socket()) as probe:
        for port in range(1023, 600, -1):
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                break
    tls = ("--tls-cert", pair.cert, "--tls-key", pair.key)
    server = Web(private, "--port", str(port), *tls, STATE_DIRECTORY=str(site.state))
    try:
        server.ready()
        assert server.port == port
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        assert f"Uid:\t{USER}\t{USER}\t{USER}\t{USER}\n" in status
        context = ssl.create_default_context(cafile=str(authority.cert))
        with (
            socket.create_connection(("127.0.0.1", port), WAIT_S) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            secure.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert b'{"ok":true}' in b"".join(iter(lambda: secure.recv(65536), b""))
        assert server.stop() == 0
    finally:
        server.process.kill()
        server.process.wait()


def test_root_takes_no_proof_from_another_user_and_leaves_none(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`edge doctor` and `check` prove a model of the store: nothing is left there, or at home."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert edge("models", "add", site.model(), "--config", site.config).returncode == 0
    (site.state / "proven.json").unlink()
    site.lines = 'model.path = "hues"\n'
    for command, line in (("doctor", "model     ok      hues"), ("check", "uint8io.tflite")):
        assert line in edge(command, "--config", site.config).stdout
    assert not (site.state / "proven.json").exists()
    assert owners(site.state) == {(USER, USER)}
    assert not [*tmp_path.iterdir()]


def test_a_state_below_a_folder_that_only_root_may_enter(
    site: Site, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As systemd keeps it: a link to private/NAME. Nothing else of `private` is seen or changed."""
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    state = site.state.rename(closed / "edge-camera")
    (closed / "other").mkdir()
    (home / "link").symlink_to("closed/edge-camera")
    monkeypatch.setenv("STATE_DIRECTORY", str(home / "link"))
    if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        pytest.skip("LEFT OUT: no mount namespaces in this container")
    for path in (site.write(site.bundle(site.model())), site.model("greys")):
        done = edge("models", "add", path, "--config", site.config)
        assert done.returncode == 0, done.stderr
    assert edge("web", "--set-password", input="a long password\n").returncode == 0
    assert owners(state) == {(USER, USER)}
    assert {path.name for path in (state / "models").iterdir()} == {"hues@1", "greys@1"}
    assert {path.name for path in closed.iterdir()} == {"edge-camera", "other"}
    assert closed.stat().st_mode & 0o777 == 0o700
    assert str(closed) not in Path("/proc/self/mounts").read_text()


def test_where_all_is_roots_nothing_changes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container, or the first use: root makes the folder, and stays root."""
    monkeypatch.setenv("STATE_DIRECTORY", str(home / "state"))
    (home / "site").mkdir()
    made = Site(home / "site")
    assert edge("models", "add", made.model(), "--config", made.config).returncode == 0
    assert owners(home / "state") == {(0, 0)}
