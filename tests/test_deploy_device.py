"""What a rollout runs on a device, against a real daemon: facts, models, the way back."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import socket
import sys
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.broker import PrivateBroker
from deploy.bundle import pack
from deploy.facts import Facts, typed
from deploy.on_device import asking, back, facts, model, rollout, state
from deploy.on_device.asking import AskError, Daemon
from tests.conftest import ROOT, WAIT_S, model_folder, wait_until
from tests.test_deploy import package, there
from tests.test_models import bundle

Start = Callable[..., Any]
CONFIG = """
[publish]
telemetry_interval_s = 0.3
[local]
path = "{path}"
[shadow]
every = 1
cpu_share = 0.9
[model]
path = "{model}"
"""


def listens(path: Path) -> bool:
    """Return whether a daemon takes connections: its socket is there a moment before."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@pytest.fixture
def device(
    broker: PrivateBroker, daemon: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A daemon with a local socket; `edge` and systemd's state folder as on a device."""
    path, at_work = tmp_path / "edge.sock", model_folder(tmp_path / "rgb")
    kept = tmp_path / "kept"
    kept.mkdir()
    monkeypatch.setenv("STATE_DIRECTORY", str(kept))
    monkeypatch.setattr(asking, "SOCKET", str(path))
    monkeypatch.setattr(state, "MARKS", tmp_path / "marks")
    there(tmp_path, "edge", f'cd {ROOT} && exec {sys.executable} -m edge "$@"')
    there(tmp_path, "systemctl", "echo ActiveState=active")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    running = daemon(
        *("--source", "synthetic", "--broker", broker.address),
        config=CONFIG.format(path=path, model=at_work),
    )
    wait_until(lambda: listens(path), running.log.read_text)
    return path


def in_use() -> str:
    """Return the model in use."""
    with Daemon() as daemon:
        return str(daemon.request("model", action="list")["in_use"])


def bundled(tmp_path: Path, name: str, version: str = "1", **changes: str) -> tuple[str, str]:
    """Return a model as a tar, and its checksum."""
    path = tmp_path / f"{name}{version}.tar"
    pack(bundle(tmp_path / f"{name}-{version}", name, version, **changes), path)
    return str(path), hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_daemon_says_what_the_gates_need(device: Path) -> None:
    """Frames a second, p99, each frame's best label, the camera, its version and model."""
    with Daemon() as daemon:
        known = typed(facts.watched(daemon, 2.0))
    assert known.fps is not None
    assert known.fps > 0
    assert known.p99_ms is not None
    assert sum(known.labels.values()) > 0
    assert (known.camera, known.invalid) == ("online", 0.0)
    assert known.version
    assert known.run
    assert known.model.endswith("rgb")


def test_a_model_is_added_tried_used_and_taken_back(device: Path, tmp_path: Path) -> None:
    """Each step as the device does it; a second time the bundle is there already."""
    before, (path, digest) = in_use(), bundled(tmp_path, "gate")
    copy = Path(path).read_bytes()
    assert model.add(path, digest) == {"name": "gate@1", "had": False}
    assert not Path(path).exists(), "no bundle stays behind"
    Path(path).write_bytes(copy)
    assert model.add(path, digest) == {"name": "gate@1", "had": True}
    figures = model.shadow("gate@1", "1.5")
    assert (figures["state"], figures["agreement"]) == ("working", 1.0)
    assert figures["frames"] > 0
    assert in_use() == before
    assert model.use("gate@1") == {"before": before, "in_use": "gate@1"}
    assert in_use() == "gate@1"
    assert facts.tell(0.5)["model"] == "gate@1"
    assert [mark.name for mark in state.marks("gate@1")] == [digest]
    assert model.shadow("gate@1", "1") == {"state": "at_work"}
    assert model.back("gate@1") == {"in_use": before, "removed": True}
    assert in_use() == before
    assert model.names().count("gate@1") == 0
    assert state.marks("gate@1") == []


def test_a_model_that_does_not_prove_itself_is_one_line(
    device: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The words of `edge models add`; status 74, and the model at work is the one before."""
    before, (path, digest) = in_use(), bundled(tmp_path, "gate", labels='["a", "b"]')
    assert model.main(["add", path, digest]) == 74
    (line,) = capsys.readouterr().out.splitlines()
    assert "labels" in json.loads(line)["error"]
    assert model.main(["use", "gate@1"]) == 74
    assert "gate@1" in json.loads(capsys.readouterr().out)["error"]
    assert in_use() == before


def member(name: str, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    """Return a header."""
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, "/etc/passwd"
    return made


@pytest.mark.parametrize(
    "header",
    [
        member("../escaped"),
        member("/tmp/escaped"),
        member("deep/model.toml"),
        member(".."),
        member("link", tarfile.SYMTYPE),
        member("link", tarfile.LNKTYPE),
        member("pipe", tarfile.FIFOTYPE),
        member("folder", tarfile.DIRTYPE),
    ],
    ids=lambda header: f"{header.name} {header.type.decode()}",
)
def test_a_tar_that_leaves_its_folder_is_refused(
    tmp_path: Path, header: tarfile.TarInfo, capsys: pytest.CaptureFixture[str]
) -> None:
    """Paths, links, pipes, folders: a model is plain files."""
    (tmp_path / "sent").mkdir()
    path = tmp_path / "sent" / "x.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(header, io.BytesIO(b""))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert model.main(["add", str(path), digest]) == 74
    assert "not a plain file of a model" in capsys.readouterr().out
    assert not (tmp_path / "escaped").exists()
    assert not Path("/tmp/escaped").exists()
    assert [*path.parent.iterdir()] == [], "nothing stays behind"


def test_another_file_than_was_sent_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its checksum, before it is opened."""
    (tmp_path / "x.tar").write_bytes(b"cut")
    assert model.main(["add", str(tmp_path / "x.tar"), "0" * 64]) == 74
    assert not (tmp_path / "x.tar").exists()
    assert "checksum differs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "another language"),
        (b"[]\n", "another language"),
        (b'{"topic": "snapshot", "bytes": 99999999999}\n', "a picture of 99999999999 bytes"),
        (b'{"topic": "snapshot", "bytes": -1}\n', "a picture of -1 bytes"),
        (b'{"topic": "response/ping", "payload": 3}\n', "another language"),
        (b'{"topic": "info", "payload": "x"}\n', "another language"),
        (b'{"error": "too many clients"}\n', "too many clients"),
        (b"x" * 1_200_000, "another language"),
        (b"[" * 100_000 + b"\n", "another language"),
        (b"", "closed|reset"),
    ],
    ids=lambda said: repr(said[:30]),
)
def test_whatever_is_at_the_socket_a_request_ends(tmp_path: Path, said: bytes, words: str) -> None:
    """With one line, bounded in time and bytes."""
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)

        def speak() -> None:
            client, _ = listener.accept()
            with client, contextlib.suppress(ConnectionError):
                client.recv(100)
                client.sendall(said)

        speaker = threading.Thread(target=speak)
        speaker.start()
        with Daemon(str(path)) as daemon, pytest.raises(AskError, match=words) as error:
            daemon.request("ping", WAIT_S)
        speaker.join()
    assert "\n" not in str(error.value)


def test_a_picture_between_lines_is_left_out(tmp_path: Path) -> None:
    """A retained snapshot comes on connecting, before any answer."""
    ours, theirs = socket.socketpair()
    picture = b'{"topic":"snapshot","retained":true,"bytes":4}\n\xff\n\n\xd9'
    theirs.sendall(picture + b'{"topic":"event","payload":{"a":1}}\n')
    daemon = Daemon.__new__(Daemon)
    daemon._socket, daemon._received, daemon._number, daemon.current = ours, bytearray(), 0, {}
    first = next(daemon.messages(WAIT_S))
    assert (first.topic, first.body) == ("event", {"a": 1})
    theirs.close()
    ours.close()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A device on which dpkg has version 2, and whose previous package is version 1."""
    package(tmp_path, version="1").rename(tmp_path / "previous.deb")
    (tmp_path / "record").write_text("installed 2")
    (tmp_path / "start").write_text("a")
    there(tmp_path, "dpkg-query", "cat record")
    there(tmp_path, "logger", "")
    there(tmp_path, "edge", "exit 1")
    there(tmp_path, "systemctl", 'echo "InvocationID=$(cat start)"; echo ActiveState=active')
    there(tmp_path, "apt-get", "echo 'installed 1' >record; echo b >start; echo >>asked")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(rollout, "PREVIOUS", tmp_path / "previous.deb")
    monkeypatch.setattr(rollout, "UNPROVEN", tmp_path / "unproven")
    monkeypatch.setattr(back, "PROVEN", tmp_path / "proven")
    monkeypatch.setattr(rollout, "POLL_S", 0)
    monkeypatch.setattr(rollout, "SETTLED_S", 0)
    (tmp_path / "proven").write_text("2 digest\n")
    return tmp_path


def test_a_healthy_version_goes_back_if_its_wave_does(
    installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The previous package is installed; nothing says any more that this one is proven."""
    assert back.main(["2", "5"]) == rollout.BACK
    assert capsys.readouterr().out.splitlines() == [
        "going back from 2 to 1",
        "gone back: 1 runs again",
    ]
    assert (installed / "record").read_text() == "installed 1\n"
    assert not (installed / "proven").exists()
    assert not (installed / "unproven").exists()


def test_only_the_version_of_the_rollout_goes_back(
    installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What somebody has installed since is left."""
    assert back.main(["1.9", "5"]) == rollout.BACK
    assert "2 is installed, not 1.9: left as it is" in capsys.readouterr().out
    there(installed, "systemctl", "echo ActiveState=failed")
    assert back.main(["1.9", "5"]) == 70, "it is not well either"
    assert not (installed / "asked").exists()


def test_an_interrupted_way_back_is_no_version_to_go_back_to(
    installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It does not become healthy: status 70, and the next deploy keeps the previous package."""
    there(installed, "apt-get", "echo 'E: no space' >&2; echo 'half-installed 1' >record; exit 100")
    assert back.main(["2", "0"]) == 70
    assert "no space" in capsys.readouterr().out
    assert (installed / "unproven").read_text() == "2"
    (installed / "previous.deb").unlink()
    (installed / "record").write_text("installed 2")
    assert back.main(["2", "0"]) == 70
    assert "no previous package" in capsys.readouterr().out
    assert back.main(["2", "soon"]) == rollout.FAULT


def test_proven_is_the_installed_version_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an apt upgrade by hand the record is of another version, and says nothing."""
    monkeypatch.setattr(facts, "PROVEN", tmp_path / "proven")
    monkeypatch.setattr(facts, "installed", lambda: "2")
    assert facts.proven() == ""
    state.remember(tmp_path / "proven", "2 abc")
    assert facts.proven() == "abc"
    monkeypatch.setattr(facts, "installed", lambda: "3")
    assert facts.proven() == ""
    assert Facts().package == ""
