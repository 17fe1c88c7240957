"""Text from outside never controls a terminal: every place that prints it, run for real.

An attack string in each place; no control character but the newline is in what the command writes.
"""

from __future__ import annotations

import ast
import json
import os
import pty
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from deploy import remote
from deploy.broker import PrivateBroker
from deploy.host import Host
from edge.daemon import systemd
from edge.daemon.logs import OneLine
from tests.conftest import ROOT, edge, model_folder

ATTACK = "\x1b]0;owned\x07\x9b2J\r\n\u202efake\u2066"
ESCAPED = "\\x1b]0;owned\\x07\\x9b2J\\r\\n\\u202efake\\u2066"
GOLDEN = ROOT / "tests" / "golden"
FIELD = json.dumps(ATTACK)[1:-1]
"""As TOML and JSON write it."""
LABEL = "\u202efake\u2066"
"""Of the attack what a label may hold: one with a control character is refused."""


def obeyed(text: str) -> str:
    """Return the characters of ``text`` that would control a terminal."""
    return "".join(c for c in text if not c.isprintable() and c != "\n")


def harmless(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Fail where a control character is printed, or where the text is missing."""
    shown = done.stdout + done.stderr
    assert not obeyed(shown), repr(shown)
    assert "Traceback" not in shown
    for word in words:
        assert word in shown, repr(shown)


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A model whose folder and name are the attack; a label as far as it may be."""
    folder = model_folder(tmp_path / f"m{ATTACK.replace('/', '')}")
    card = (folder / "model.toml").read_text()
    card = card.replace('name = "uint8io"', f'name = "{FIELD}"')
    (folder / "model.toml").write_text(card.replace('"red"', json.dumps(LABEL)))
    return folder


def test_check_classify_and_bench(hostile: Path, tmp_path: Path) -> None:
    """Names of models, labels, files and folders."""
    config = tmp_path / f"edge{ATTACK}.toml"
    config.write_text(f"[model]\npath = {json.dumps(str(hostile))}\n")
    done = edge("check", "--config", config)
    assert done.returncode == 0, done.stderr
    harmless(done, f"config   {tmp_path}/edge{ESCAPED}.toml: valid", f"m{ESCAPED}")
    picture = tmp_path / f"p{ATTACK}.png"
    encoded = cv2.imencode(".png", np.full((8, 8, 3), (0, 0, 200), np.uint8))[1]
    picture.write_bytes(encoded.tobytes())
    for options in ((), ("--json",)):
        done = edge("classify", *options, "--model", hostile, picture, f"{picture}x")
        assert done.returncode == 1
        harmless(done)
        if not options:
            assert f"p{ESCAPED}.png: \\u202efake\\u2066 0." in done.stdout
            assert f"p{ESCAPED}.pngx: no such file" in done.stderr
    done = edge("bench", "--model", hostile, "--frames", "5")
    assert done.returncode == 0, done.stderr
    harmless(done, "owned")
    done = edge("bench", "--model", hostile, "--frames", "5", "--budget-ms", "0.000001")
    harmless(done, "over the budget")
    card = hostile / "model.toml"
    card.write_text(card.read_text().replace(json.dumps(LABEL), f'"{FIELD}"'))
    done = edge("check", "--config", config)
    assert done.returncode == 78
    harmless(done, f"label 0 holds a control character: got {ESCAPED}")


def test_markup_in_a_models_name_is_text(tmp_path: Path) -> None:
    """rich would read brackets as colours, and fail at one that closes nothing."""
    folder = model_folder(tmp_path / "m", name="uint8io")
    card = (folder / "model.toml").read_text().replace('name = "uint8io"', 'name = "[/b]x"')
    (folder / "model.toml").write_text(card)
    done = edge("bench", "--model", folder, "--frames", "5")
    assert done.returncode == 0, done.stderr
    assert "[/b]x, ms per frame" in done.stdout


@pytest.mark.parametrize("command", ["run", "check", "watch", "purge", "doctor"])
def test_keys_and_values_of_a_config(command: str, tmp_path: Path) -> None:
    """A key, a value, and the file's own name."""
    config = tmp_path / f"edge{ATTACK}.toml"
    more = ("wall",) if command == "purge" else ()
    lines = (f'"{FIELD}" = 1', f'[mqtt]\nhost = "{FIELD}"', f'[camera]\nroi = ["{FIELD}"]',
             f'[log]\nlevel = "{FIELD}"', f'[device]\nid = "{{{FIELD}}}"', ATTACK)  # fmt: skip
    for line in lines:
        config.write_text(line + "\n")
        done = edge(command, "--config", config, *more)
        assert done.returncode == 78, done
        harmless(done, "owned")


def publish(broker: PrivateBroker, topic: str, payload: bytes) -> None:
    """Have the broker keep a message."""
    how = "-s" if payload else "-n"
    command = ["mosquitto_pub", "-p", str(broker.port), "-r", "-q", "1", how, "-t", topic]
    subprocess.run(command, input=payload, check=True)


def keep(broker: PrivateBroker) -> None:
    """Have the broker keep what an attacker of device `wall` would publish."""
    golden = {
        kind: json.loads((GOLDEN / f"{kind}.json").read_text())["payload"]
        for kind in ("info", "state", "telemetry", "event")
    }
    golden["info"] |= {"version": ATTACK, "run": ATTACK}
    golden["info"]["model"] |= {"name": ATTACK}
    golden["info"]["camera"] |= {"state": "failed", "error": ATTACK, "source": ATTACK}
    golden["state"] |= {"label": ATTACK, "scores": {ATTACK: 0.5}}
    golden["event"] |= {"before": ATTACK, "after": ATTACK, "evidence": {ATTACK: ATTACK}}
    golden["telemetry"]["stages_ms"] = {ATTACK: golden["telemetry"]["stages_ms"]["invoke"]}
    for kind, body in golden.items():
        publish(broker, f"edge/wall/{kind}", json.dumps(body).encode())
    publish(broker, "edge/wall/availability", ATTACK.encode())


def test_watch_doctor_and_purge_of_what_a_broker_keeps(
    broker: PrivateBroker, tmp_path: Path
) -> None:
    """Lines, the screen of a terminal, doctor's verdicts, and what was cleared."""
    keep(broker)
    done = edge("watch", "--broker", broker.address, "--seconds", "1.5")
    assert done.returncode == 0
    harmless(done, f"state {ESCAPED} ", f"event changed {ESCAPED} -> ", "availability")
    config = tmp_path / "edge.toml"
    config.write_text(
        f'[device]\nid = "wall"\n[camera]\nsource = "synthetic"\n[mqtt]\nhost = "{broker.host}"\n'
        f"port = {broker.port}\n"
    )
    done = edge("doctor", "--config", config)
    harmless(done, "published fault", "edge/wall is offline", ESCAPED)
    done = edge("doctor", "--json", "--config", config)
    assert json.loads(done.stdout)["checks"]
    harmless(done)
    harmless(edge("purge", "--broker", broker.address, "wall"), "cleared edge/wall/state")
    done = edge("purge", "--broker", broker.address, f"wall{ATTACK}")
    harmless(done, "expected a device id")


def test_watch_never_controls_its_terminal(broker: PrivateBroker) -> None:
    """rich's own output contains nothing of the attack."""
    keep(broker)
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(ROOT)
        arguments = ["-m", "edge", "watch", "--broker", broker.address, "--seconds", "2"]
        os.execv(sys.executable, [sys.executable, *arguments])
    shown = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # how a terminal ends
            break
        if not part:
            break
        shown += part
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    text = shown.decode()
    assert "\\x1b]0;owned" in text
    for bad in ("\x1b]", "\x07", "\x9b", "\u202e", "\u2066"):
        assert bad not in text


WILD = {
    "info": [b"", b'{"config": {"a": ' + b"[" * 100_000, b"\xff\xfe", b'{"seq": 1e999}'],
    "state": [
        json.dumps({"seq": 10**400, "ts": 1, "label": None, "score": 1, "scores": {}, "since_s": 1,
                    "partial": False, "frame": 10**400}).encode(),
        b'{"seq":1,"ts":1e300,"label":"a","score":0.5,"scores":{},"since_s":1,"frame":1}',
        b'{"a":' * 50_000,
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", WILD)
def test_doctor_on_a_hostile_broker_gives_a_verdict(
    kind: str, broker: PrivateBroker, tmp_path: Path
) -> None:
    """Endless numbers, endless nesting, nothing at all: no worse than a warning."""
    config = tmp_path / "edge.toml"
    config.write_text(
        f'[device]\nid = "wall"\n[camera]\nsource = "synthetic"\n[mqtt]\nhost = "{broker.host}"\n'
        f"port = {broker.port}\n"
    )
    publish(broker, "edge/wall/availability", b"online")
    for payload in WILD[kind]:
        publish(broker, f"edge/wall/{kind}", payload)
        done = edge("doctor", "--json", "--config", config)
        (found,) = (c for c in json.loads(done.stdout)["checks"] if c["name"] == "published")
        assert "the probe failed" not in found["line"], found
        assert found["verdict"] in ("warning", "unknown"), found
        assert len(done.stdout) < 50_000
        harmless(done)


def test_the_journal_the_host_and_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry of the journal, systemd's status, a name of a process that is no UTF-8."""
    entry = {"__CURSOR": "a", "__REALTIME_TIMESTAMP": "1", "MESSAGE": ATTACK, "PRIORITY": "3"}
    late = {**entry, "__CURSOR": "b", "__REALTIME_TIMESTAMP": "9" * 300}
    (tmp_path / "entries").write_text(f"{json.dumps(entry)}\n{json.dumps(late)}\n")
    (tmp_path / "shown").write_text(f"LoadState=loaded\nActiveState=active\nStatusText={ATTACK}\n")
    for name, file in (("journalctl", "entries"), ("systemctl", "shown")):
        (tmp_path / name).write_text(f"#!/bin/sh\ncat {tmp_path / file}\n")
        (tmp_path / name).chmod(0o755)
    config = tmp_path / "edge.toml"
    config.write_text(f'[camera]\nsource = "/dev/full"\n[model]\npath = "{FIELD}"\n')
    program = tmp_path / os.fsdecode(b"caf\xc3\x1b")
    shutil.copy(shutil.which("sleep") or "", program)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with open("/dev/full", "wb") as device:
        sleeper = subprocess.Popen([str(program), "60"], stdout=device)
    done = edge("doctor", "--config", config)
    sleeper.kill()
    sleeper.wait()
    harmless(done, f"1970-01-01 00:00:00 UTC  {ESCAPED}", "model     fault", "camera    ")
    assert "the probe failed" not in done.stdout


def test_systemd_hears_one_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A label with a newline does not trigger the watchdog."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        notifier = systemd.Notifier()
        notifier.status("cat\nWATCHDOG=trigger\x1b" + "x" * 9000)
        heard = manager.recv(65536).decode()
        assert heard.startswith("STATUS=cat\\nWATCHDOG=trigger\\x1bxxx")
        assert len(heard) < 600
        notifier.ready("a\nMAINPID=1")
        assert manager.recv(4096) == b"READY=1\nSTATUS=a\\nMAINPID=1"


def test_a_traceback_in_the_log_has_only_its_own_lines() -> None:
    """An exception's words come from outside too."""
    import logging

    try:
        raise ValueError(ATTACK)
    except ValueError:
        record = logging.LogRecord("edge", logging.ERROR, "", 0, "x", (), sys.exc_info())
    text = OneLine("%(message)s").format(record)
    assert not obeyed(text)
    assert "owned" in text


def test_a_remote_host_and_an_sdcard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a Pi says over ssh; a disk's model, an image's name."""
    remote.say(Host(f"pi{ATTACK}", ("ssh",)), ATTACK)
    assert capsys.readouterr().out == f"deploy: pi{ESCAPED}: {ESCAPED}\n"
    remote.main(["--hosts", f"a{ATTACK.split()[0]} b", "--ssh", f"no{ATTACK}"])
    shown = capsys.readouterr()
    assert not obeyed(shown.err)
    image = tmp_path / f"x{ATTACK}.img"
    image.write_bytes(bytes(510) + b"\x55\xaa" + bytes(512))
    sdcard = tmp_path / f"sdcard{ATTACK}"
    sdcard.write_bytes(bytes(4096))
    command = ["/usr/bin/python3", "-B", "-m", "deploy.sdcard.flash", "--device", str(sdcard)]
    command += ["--image", str(image), "--force", "1", "--serial", ATTACK]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    harmless(done, f"sdcard{ESCAPED}", f"x{ESCAPED}.img", "wrong serial")


def test_the_program_sent_to_a_pi_escapes_with_what_is_sent_along(tmp_path: Path) -> None:
    """It runs on a bare python3, in a folder where no edge is."""
    program = remote.program(tmp_path / "rollout.pyz")
    code = "import sys; sys.path.insert(0, sys.argv[1])\n"
    code += "from deploy.on_device.state import say; say(sys.argv[2])"
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", code, str(program), ATTACK], cwd=tmp_path,
        env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )  # fmt: skip
    assert done.stdout == f"{ESCAPED}\n"


def test_make_run_shows_a_failed_daemon_line_by_line(tmp_path: Path) -> None:
    """Its log, in which libraries write as well."""
    done = subprocess.run(
        [sys.executable, "deploy/run.py", "--source", f"no{ATTACK}.mp4"],
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 74
    harmless(done, f"no{ESCAPED}.mp4: no such source")
    done = subprocess.run(
        [sys.executable, "deploy/run.py", "--broker", f"x{ATTACK}:99999999"],
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
    )  # fmt: skip
    harmless(done, "expected HOST")


SHOW = ("print", "input")
SAFE = ("escaped", "json.dumps")
CHECKED = [
    *sorted((ROOT / "edge").rglob("*.py")),
    *sorted((ROOT / "deploy" / "sdcard").glob("*.py")),
    *sorted((ROOT / "deploy" / "on_device").glob("*.py")),
    *(ROOT / "deploy" / name for name in ("remote.py", "run.py", "host.py")),
]
OWN = {
    "edge/__main__.py": ["f'<3>{error}'", "f'edge: {error}'"],
    "edge/doctor/camera.py": [],
    "edge/cli/recordings.py": ["line"],
    "edge/cli/replay.py": [
        "replay_text.event(name, number, at_s, event)",
        "replay_text.recorded(event)",
        "json.dumps(summary) if as_json else replay_text.summary(summary)",
    ],
    "edge/cli/teach_progress.py": ["f'\\r\\x1b[K{line}'"],
    "deploy/sdcard/progress.py": ["f'\\r{line}'", "f'{start}{line}'"],
    "deploy/on_device/state.py": ["text"],
    "deploy/run.py": [
        "f'private broker on {private.address}; see it all with:'",
        "f\"  mosquitto_sub -h {private.host} -p {private.port} -v -t 'edge/#'\"",
        "f'page: http://127.0.0.1:{port}/'",
    ],
}
"""File -> what it prints that is ours, or has been escaped before."""


@pytest.mark.parametrize("path", CHECKED, ids=lambda path: str(path.relative_to(ROOT)))
def test_whatever_is_printed_is_escaped(path: Path) -> None:
    """A constant, JSON, or what has gone through the one function."""
    bare = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in SHOW:
            for given in node.args:
                safe = isinstance(given, ast.Constant)
                safe = safe or (isinstance(given, ast.Call) and ast.unparse(given.func) in SAFE)
                bare += [] if safe else [ast.unparse(given)]
    assert set(bare) <= set(OWN.get(str(path.relative_to(ROOT)), [])), bare


def test_one_function_escapes() -> None:
    """No file replaces unprintable characters in a way of its own."""
    for path in (*(ROOT / "edge").rglob("*.py"), *(ROOT / "deploy").rglob("*.py")):
        if path.name != "text.py":
            assert not re.search(r"isprintable\(\) else", path.read_text()), path
