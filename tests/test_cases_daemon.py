"""Cases of a real daemon: kept while it runs, sorted and removed beside it, over a real broker."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from deploy.broker import PrivateBroker
from edge.cases.store import Store
from edge.contract import schema
from edge.telemetry import Stages
from tests.case_files import fill
from tests.conftest import Daemon, Listener, edge, wait_until
from tests.test_control import Asker, newest, online

BASE = """
[device]
id = "wall"
[publish]
telemetry_interval_s = 0.3
"""
EAGER = """
[cases]
margin = 1.0
request = true
interval_s = 0.05
per_hour = 3600
duplicate_s = 0
free_bytes = 0
"""
Start = Callable[..., Daemon]


@pytest.fixture
def start(broker: PrivateBroker, daemon: Start, rgb: Path, tmp_path: Path) -> Start:
    """Return a function that starts the daemon with a config and a state directory."""
    (tmp_path / "state").mkdir()

    def begin(config: str, **env: str) -> Daemon:
        command = ("--source", "synthetic", "--model", rgb, "--broker", broker.address)
        return daemon(
            *command, config=config, **({"STATE_DIRECTORY": str(tmp_path / "state")} | env)
        )

    return begin


def kept(folder: Path) -> list[str]:
    """Return the unsorted cases."""
    if not folder.is_dir():
        return []
    with Store(folder) as store:
        return store.names("")


def test_frames_are_kept_counted_and_handled_by_request(
    broker: PrivateBroker, listen: Callable[[], Listener], start: Start, tmp_path: Path
) -> None:
    """In the state directory, for its owner alone; telemetry is as promised; SIGKILL costs none."""
    listener, folder = listen(), tmp_path / "state" / "cases"
    running = start(BASE + EAGER)
    online(broker)
    wait_until(lambda: len(kept(folder)) >= 5)
    figures: dict[str, Any] = {}

    def counted() -> bool:
        figures.update((newest(listener, "telemetry") or {}).get("cases", {}))
        return bool(figures.get("kept_total", {}).get("margin", 0) >= 5)

    listener.wait_for(counted)
    telemetry = newest(listener, "telemetry")
    jsonschema.validate(telemetry, schema()["telemetry"])
    assert telemetry["plugs"] == {"skipped_total": {}, "failed": []}
    assert telemetry["stages_ms"].keys() == {*Stages.NAMES, "cases"}
    assert figures["errors_total"] == figures["duplicates_total"] == 0
    asker = Asker(broker)
    answer = asker.ask("cases-keep")
    assert answer["status"] == "ok", answer
    name = answer["data"]["name"]
    with Store(folder) as store:
        sidecar = store.sidecar(name, "")
    assert sidecar is not None
    assert (sidecar.reason, sidecar.model, len(sidecar.sha256)) == ("request", "uint8io", 64)
    assert asker.ask("cases-list", {"reason": "request"})["data"]["cases"] == [
        {"name": name, "sorted": None, "time": sidecar.time, "reason": "request",
         "label": sidecar.label}
    ]  # fmt: skip
    listed = asker.ask("cases-list", {"limit": 3})["data"]
    names = [case["name"] for case in listed["cases"]]
    assert len(names) == 3 == len(set(names))
    assert names == sorted(names, reverse=True)
    older = asker.ask("cases-list", {"limit": 50, "before": names[-1]})["data"]["cases"]
    assert all(case["name"] < names[-1] for case in older)
    assert asker.ask("cases-sort", {"names": [name], "label": "red"})["data"] == {"sorted": 1}
    assert (folder / "sorted" / "red" / f"{name}.jpg").exists()
    wrong = asker.ask("cases-sort", {"names": [names[0], "nothing"], "label": "red"})
    assert "no such case" in wrong["error"]
    assert "not a class" in asker.ask("cases-sort", {"names": [name], "label": "../x"})["error"]
    assert "which" in asker.ask("cases-purge", {})["error"]
    assert running.stop(signal.SIGKILL) == -signal.SIGKILL
    listener.wait_for(lambda: listener.payloads("availability")[-1] == "offline")
    with Store(folder) as store:
        before = store.names("")
        whole = [one for one in before if store.sidecar(one, "") is not None]
    assert before == whole
    (folder / "alone.json").write_text("{}")
    running = start(BASE + EAGER)
    wait_until(lambda: len(kept(folder)) > len(before))
    online(broker)  # once more: it has subscribed by then
    assert not (folder / "alone.json").exists()
    assert asker.ask("cases-purge", {"which": "all"})["data"]["removed"] > len(before)
    assert not (folder / "sorted" / "red").exists()
    assert running.stop() == 0  # a file that it is writing would vanish
    modes = {path.stat().st_mode & 0o077 for path in (folder, *folder.rglob("*"))}
    assert modes == {0}
    asker.close()


def test_the_command_line_works_beside_the_daemon(start: Start, tmp_path: Path) -> None:
    """What it sorts stays, while the daemon drops the oldest of the others to make room."""
    folder = tmp_path / "state" / "cases"
    old = fill(folder, 6)
    running = start(BASE + EAGER.replace("free_bytes = 0", "bytes = 100000"))
    done = edge("cases", "sort", "--folder", folder, *old[:3], "open")
    assert (done.returncode, done.stdout) == (0, "3 cases now open\n")
    wait_until(lambda: not set(old) & set(kept(folder)))
    with Store(folder) as store:
        assert store.names("open") == old[:3]
    held = sum(path.stat().st_size for path in folder.rglob("*.j*"))
    assert held <= 120_000  # one may be half-way
    done = edge("cases", "purge", "--all", "--folder", folder)
    assert done.returncode == 0, done.stderr
    count = len(kept(folder))
    wait_until(lambda: len(kept(folder)) > count)
    assert running.stop() == 0
    assert "Traceback" not in running.log.read_text()


def test_without_a_reason_nothing_is_there(
    broker: PrivateBroker, listen: Callable[[], Listener], start: Start, tmp_path: Path
) -> None:
    """No folder, no stage, no part; a reload switches it on, and off again."""
    listener = listen()
    running = start(BASE)
    online(broker)
    listener.wait_for(lambda: bool(listener.payloads("telemetry")))
    telemetry = newest(listener, "telemetry")
    assert not telemetry.keys() & {"plugs", "cases"}
    assert telemetry["stages_ms"].keys() <= set(Stages.NAMES)
    asker = Asker(broker)
    for command, body in (("keep", {}), ("list", {}), ("purge", {"which": "all"})):
        error = asker.ask(f"cases-{command}", body)["error"]
        assert error == "cases is off; see [cases] of the config"
    assert not (tmp_path / "state" / "cases").exists()
    (tmp_path / "edge.toml").write_text(BASE + EAGER)
    assert asker.ask("reload")["status"] == "ok"
    wait_until(lambda: len(kept(tmp_path / "state" / "cases")) > 2)
    (tmp_path / "edge.toml").write_text(BASE + "[cases]\nmargin = 1.0\nrequests = true\n")
    assert "did you mean `request`" in asker.ask("reload")["error"]
    (tmp_path / "edge.toml").write_text(BASE)
    assert asker.ask("reload")["status"] == "ok"
    assert "cases is off" in asker.ask("cases-list")["error"]
    asker.close()
    assert running.stop() == 0


def test_a_device_without_a_folder_for_cases_says_so(
    broker: PrivateBroker, start: Start, tmp_path: Path
) -> None:
    """At the start one line and status 78; at a reload a refusal, and the old config goes on."""
    refused = start(BASE + EAGER, STATE_DIRECTORY="")
    assert refused.process.wait(50) == 78
    line = "cases.path: cases have no folder: expected a folder, or a state directory of systemd"
    assert line in refused.log.read_text()
    running = start(BASE, STATE_DIRECTORY="")
    online(broker)
    asker = Asker(broker)
    (tmp_path / "edge.toml").write_text(BASE + EAGER)
    assert line in asker.ask("reload")["error"]
    assert asker.ask("ping")["status"] == "ok"
    (tmp_path / "edge.toml").write_text(BASE + EAGER + f'path = "{tmp_path}/mine"\n')
    assert asker.ask("reload")["status"] == "ok"
    wait_until(lambda: len(kept(tmp_path / "mine")) > 1)
    asker.close()
    assert running.stop() == 0


def test_a_folder_that_fails_ends_nothing(
    broker: PrivateBroker, start: Start, listen: Callable[[], Listener], tmp_path: Path
) -> None:
    """One line in the log; frames, telemetry and requests go on."""
    (tmp_path / "state" / "cases").write_text("in its place")
    listener = listen()
    running = start(BASE + EAGER)
    online(broker)
    listener.wait_for(
        lambda: (newest(listener, "telemetry") or {}).get("cases", {}).get("missed_total", 0) > 9
    )
    asker = Asker(broker)
    assert "state/cases: " in asker.ask("cases-list")["error"]
    asker.close()
    assert running.stop() == 0
    log = running.log.read_text()
    assert log.count("cases cannot be kept") == 1
    assert "switched off" not in log


def test_bench_measures_it_and_keeps_nothing(rgb: Path, tmp_path: Path) -> None:
    """In the folder of the config there is nothing afterwards."""
    config = tmp_path / "edge.toml"
    config.write_text(EAGER + f'path = "{tmp_path}/mine"\n')
    arguments = ("bench", "--config", config, "--source", "synthetic", "--model", rgb)
    done = edge(*arguments, "--frames", "50", "--json")
    assert "cases_ms" in json.loads(done.stdout.splitlines()[-1])
    assert not (tmp_path / "mine").exists()


def test_the_services_files_are_its_own(start: Start, tmp_path: Path) -> None:
    """Whatever umask it was started with."""
    before = os.umask(0)
    try:
        start(BASE + EAGER)
    finally:
        os.umask(before)
    folder = tmp_path / "state" / "cases"
    wait_until(lambda: len(kept(folder)) > 1)
    assert {path.stat().st_mode & 0o077 for path in (folder, *folder.rglob("*.j*"))} == {0}
