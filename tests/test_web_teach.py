"""Teaching over the API: a real child, real pictures; cancelled, killed, wrong; installed, used."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.cases import sidecar as sidecars
from edge.cases.store import Store
from edge.web.teach_results import Results
from tests.case_files import sidecar
from tests.conftest import Daemon, edge, wait_until
from tests.test_teach import COLORS
from tests.web_server import ASK, Got, Web

Serve = Callable[..., Web]


def collect(folder: Path, each: int = 12) -> None:
    """Fill a folder of cases with pictures of a gate, sorted; one of them into the wrong class."""
    random = np.random.default_rng(4)
    with Store(folder, create=True, lock=True) as store:
        for offset, (label, color) in enumerate(COLORS.items()):
            for number in range(each):
                picture = random.integers(60, 120, (96, 128, 3), np.uint8)
                x, y = (int(v) for v in random.integers(5, 40, 2))
                cv2.rectangle(picture, (x, y), (x + 70, y + 30), color, -1)
                jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
                name = f"{label}-{number:03d}"
                into = "open" if name == "closed-000" else label
                time_s = 1.7e9 + 120 * (number + 1000 * offset)
                content = sidecars.encode(sidecar(number, time=time_s))
                store.add(name, jpeg, content, into)


def post(server: Web, path: str, **body: Any) -> Got:
    """Return the answer to a change."""
    return server.send("POST", path, json.dumps(body), ASK)


def until(server: Web, *states: str) -> Any:
    """Return how far teaching is, once its state is one of these."""
    seen: list[Any] = []

    def reached() -> bool:
        seen.append(server.ask("/api/teach").json())
        return seen[-1]["state"] in states

    wait_until(reached, lambda: f"{seen[-1:]} {server.log.read_text()}")
    progress = [one["progress"] for one in seen if one["state"] == "running"]
    assert progress == sorted(progress)
    return seen[-1]


def children(server: Web) -> list[int]:
    """Return the processes that a server has started."""
    listed = Path(f"/proc/{server.process.pid}/task").glob("*/children")
    return [int(one) for file in listed for one in file.read_text().split()]


def only_child(server: Web) -> int:
    """Return the process that a server starts."""
    wait_until(lambda: len(children(server)) == 1)
    return children(server)[0]


def nice(process_id: int) -> int:
    """Return the priority of a process. Source: proc(5), /proc/pid/stat, field 19."""
    return int(Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[16])


def is_alive(process_id: int) -> bool:
    """Return whether a process runs, and is no zombie."""
    try:
        return ") Z " not in Path(f"/proc/{process_id}/stat").read_text()
    except OSError:
        return False


def test_sorted_cases_become_a_model_that_the_daemon_uses(
    tmp_path: Path, web: Serve, daemon: Callable[..., Daemon], rgb: Path
) -> None:
    """Taught, reported with the cases' names, installed, and at work by a request."""
    collect(tmp_path / "cases")
    with Store(tmp_path / "cases") as store, store.folder("empty", create=True):
        pass
    config = f'[local]\npath = "{tmp_path}/edge.sock"\n[model]\npath = "{rgb}"\n'
    daemon("--source", "synthetic", config=config, STATE_DIRECTORY=str(tmp_path))
    server = web(config=config).ready().connected()
    assert server.ask("/api/teach").json()["state"] == "idle"
    assert post(server, "/api/teach/install").status == 409
    begun = post(server, "/api/teach", name="gate", background=["closed"])
    assert (begun.status, begun.json()["state"]) == (200, "running"), begun
    assert post(server, "/api/teach", name="other").status == 409
    done = until(server, "done", "failed")
    assert done["error"] == ""
    assert (done["name"], done["version"], done["installed"]) == ("gate", "1", None)
    report = done["report"]
    assert set(report["classes"]) == {"open", "closed"}
    assert report["accuracy"] > 0.8
    suspect = report["suspects"][0]
    assert (suspect["case"], suspect["label"], suspect["looks_like"]) == (
        *("closed-000", "open", "closed"),
    )
    wrong = {one["case"]: one["taken_for"] for one in report["wrong"]}
    assert wrong["closed-000"] == "closed"
    assert sum(map(sum, report["confusion"])) == 24
    assert len(wrong) == 24 - sum(report["confusion"][i][i] for i in range(2))
    moved = post(server, "/api/cases/sort", names=["closed-000"], **{"class": "closed"})
    assert moved.json()["sorted"] == 1
    assert post(server, "/api/teach/install").json() == {"model": "gate@1"}
    again = post(server, "/api/teach/install")
    assert (again.status, "is there already" in again.json()["error"]) == (409, True)
    assert server.ask("/api/teach").json()["installed"] == "gate@1"
    assert server.order("model", action="use", name="gate@1").status == 200
    wait_until(lambda: "gate" in str(server.ask("/api/info").json()["payload"]["model"]["name"]))
    log = server.log.read_text()
    assert "audit: teach gate, by local" in log
    assert "audit: teach: gate@1 installed" in log


def test_a_result_outlives_the_process(tmp_path: Path, web: Serve) -> None:
    """Killed afterwards and started again, it is there to be installed; the next is version 2."""
    collect(tmp_path / "cases")
    server = web().ready()
    post(server, "/api/teach", name="gate")
    before = until(server, "done", "failed")
    server.stop(signal.SIGKILL)
    again = web().ready()
    assert again.ask("/api/teach").json() == before
    assert post(again, "/api/teach/install").json() == {"model": "gate@1"}
    post(again, "/api/teach", name="gate")
    assert until(again, "done", "failed")["version"] == "2"
    assert len(list((tmp_path / "teach").glob("job-*"))) == 1


def test_cancelling_kills_the_child_and_keeps_what_was_there(tmp_path: Path, web: Serve) -> None:
    """Its processes end, its folder goes; the result before is the newest again."""
    collect(tmp_path / "cases")
    server = web().ready()
    assert post(server, "/api/teach/cancel").status == 409
    post(server, "/api/teach", name="gate")
    before = until(server, "done", "failed")
    collect_more(tmp_path / "cases")
    post(server, "/api/teach", name="other", features="features-large")
    child = only_child(server)
    wait_until(lambda: nice(child) == min(19, nice(server.process.pid) + 10))
    assert post(server, "/api/teach/cancel").status == 200
    wait_until(lambda: not is_alive(child))
    assert server.ask("/api/teach").json() == before
    assert len(list((tmp_path / "teach").glob("job-*"))) == 1


def collect_more(folder: Path, copies: int = 60) -> None:
    """Make teaching last, with further pictures."""
    for path in list((folder / "sorted").rglob("*.jpg")):
        for number in range(copies):
            path.with_name(f"{path.stem}-{number}.jpg").write_bytes(path.read_bytes())


def test_a_child_does_not_outlive_a_killed_server(tmp_path: Path, web: Serve) -> None:
    """It ends by itself; the next server teaches again, and what was left is removed."""
    collect(tmp_path / "cases")
    collect_more(tmp_path / "cases")
    server = web().ready()
    post(server, "/api/teach", name="gate")
    child = only_child(server)
    wait_until(lambda: server.ask("/api/teach").json()["progress"] > 0)
    server.stop(signal.SIGKILL)
    wait_until(lambda: not is_alive(child))
    assert len(list((tmp_path / "teach").glob("job-*"))) == 1
    again = web().ready()
    assert again.ask("/api/teach").json()["state"] == "idle"
    assert post(again, "/api/teach", name="gate").status == 200
    assert len(list((tmp_path / "teach").glob("job-*"))) == 1
    assert again.stop() == 0


def test_a_server_that_ends_takes_its_child_along(tmp_path: Path, web: Serve) -> None:
    """At a signal, at once; while it teaches, it does not end as idle."""
    collect(tmp_path / "cases")
    collect_more(tmp_path / "cases")
    server = web("--idle", "1").ready()
    post(server, "/api/teach", name="gate")
    child = only_child(server)
    begin_s = time.monotonic()
    wait_until(lambda: time.monotonic() - begin_s > 2.5)
    assert server.process.poll() is None
    assert server.stop() == 0
    wait_until(lambda: not is_alive(child))


def test_two_servers_do_not_teach_at_once(tmp_path: Path, web: Serve) -> None:
    """The second one says that another process does; its result is seen by both."""
    collect(tmp_path / "cases")
    one, other = web().ready(), web().ready()
    assert post(one, "/api/teach", name="gate").status == 200
    refused = post(other, "/api/teach", name="gate")
    assert (refused.status, "another process" in refused.json()["error"]) == (409, True)
    assert until(one, "done")["name"] == "gate"
    assert until(other, "done")["name"] == "gate"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"name": "../gate"}, "name"),
        ({"name": "-x"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "g" * 41}, "name"),
        ({"name": "gate", "features": "/etc"}, "features"),
        ({"name": "gate", "background": "open"}, "background"),
        ({"name": "gate", "background": ["open\0"]}, "not a class"),
        ({"name": "gate", "out": "/tmp"}, "out"),
        ({}, "name"),
    ],
)
def test_a_wrong_request_begins_nothing(body: dict[str, Any], error: str, web: Serve) -> None:
    """No argument of the child comes from outside unchecked."""
    server = web().ready()
    got = server.send("POST", "/api/teach", json.dumps(body), ASK)
    assert got.status == 400
    assert error in got.json()["error"]
    assert children(server) == []


def test_what_cannot_be_taught_is_said_in_one_line(tmp_path: Path, web: Serve) -> None:
    """No cases, one class, a shipped model's name, an unknown background that looks like a flag."""
    server = web().ready()
    post(server, "/api/teach", name="gate")
    failed = until(server, "failed")
    assert "sorted" in failed["error"]
    assert failed["report"] is None
    collect(tmp_path / "cases")
    for body, error in (
        ({"name": "catdog"}, "comes with the program"),
        ({"name": "gate", "background": ["--out=x"]}, "no such class"),
    ):
        assert post(server, "/api/teach", **body).status == 200
        failed = until(server, "failed")
        assert error in failed["error"]
        assert "\n" not in failed["error"]
    assert list((tmp_path / "teach").glob("job-*")) == []


def test_a_result_that_is_damaged_is_none(tmp_path: Path, web: Serve) -> None:
    """Whatever the file holds: idle, and a line in the log; nothing outside is touched."""
    folder = tmp_path / "teach"
    folder.mkdir()
    outside = tmp_path / "job-outside"
    outside.mkdir()
    good = {"job": "job-1", "name": "g", "version": "1", "finished": 1.0, "report": {}}
    for content in (
        b"",
        b"{",
        b"[" * 100_000,
        json.dumps({**good, "job": "job-/../../job-outside"}).encode(),
        json.dumps({**good, "job": "../job-outside"}).encode(),
        json.dumps(good).encode(),
    ):
        (folder / "result.json").write_bytes(content)
        assert Results(tmp_path).read() is None
    server = web().ready()
    assert server.ask("/api/teach").json()["state"] == "idle"
    assert outside.is_dir()


def test_progress_for_a_program_is_lines_of_json(tmp_path: Path) -> None:
    """Rising to nearly 1; an error is still one plain line."""
    collect(tmp_path / "cases")
    folder = tmp_path / "cases" / "sorted"
    out = ("--out", tmp_path / "out", "--name", "gate", "--progress", "json", "--gently")
    done = edge("teach", folder, *out, "--json")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    shares = [line["share"] for line in lines]
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] <= 1
    assert lines[0]["line"].endswith("of 24 pictures")
    (folder / "empty").mkdir()
    refused = edge("teach", folder, *out)
    assert refused.returncode == 78
    assert "class `empty` has no pictures" in refused.stderr.splitlines()[-1]
    assert edge("teach", folder, *out, "--skip-empty").returncode == 0
