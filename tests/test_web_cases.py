"""Cases over the API: the real web process on a real folder, with a daemon and without one."""

from __future__ import annotations

import http.client
import io
import json
import re
import signal
import subprocess
import sys
import tarfile
import threading
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.cases import classes, names
from edge.cases import sidecar as sidecars
from edge.cases.store import Store
from edge.errors import EdgeError
from edge.web.undo import STEPS, Undo
from tests.case_files import fill, jpeg, pixels, sidecar, snapshot
from tests.conftest import ROOT, Daemon, edge, wait_until
from tests.web_server import ASK, Got, Web

Serve = Callable[..., Web]
HOSTILE = [
    "../x",
    "a/b",
    ".hidden",
    "",
    " a",
    "a\x00b",
    "x" * 129,
    "a\n",
    "\u202eevil",
    "unsorted ",
]
"""Names that no class may have."""


@pytest.fixture
def server(web: Serve, tmp_path: Path) -> Web:
    """A web process without a daemon; its cases lie in ``tmp_path / "cases"``."""
    del tmp_path
    return web().ready()


def post(server: Web, path: str, **body: Any) -> Got:
    """Return the answer to a change."""
    fields = {"class" if key == "label" else key: value for key, value in body.items()}
    return server.send("POST", path, json.dumps(fields), ASK)


def listed(server: Web, **query: object) -> list[str]:
    """Return the names of the cases that a query gives, page by page."""
    found: list[str] = []
    while True:
        got = server.ask(f"/api/cases?{urllib.parse.urlencode(query)}")
        assert got.status == 200, got
        found += [one["name"] for one in got.json()["cases"]]
        if got.json()["next"] is None:
            return found
        query["before"] = got.json()["next"]


def form(*files: tuple[str, bytes], label: str | None = None) -> tuple[bytes, dict[str, str]]:
    """Return a form and its headers."""
    body = b""
    for name, content in files:
        head = f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        body += b"--xx\r\n" + head.encode() + content + b"\r\n"
    if label is not None:
        head = 'Content-Disposition: form-data; name="class"\r\n\r\n'
        body += b"--xx\r\n" + head.encode() + label.encode() + b"\r\n"
    return body + b"--xx--\r\n", {**ASK, "Content-Type": "multipart/form-data; boundary=xx"}


def test_there_is_nothing_before_there_is_a_folder(server: Web) -> None:
    """No cases, no classes; sorting says that the folder is not there."""
    assert server.ask("/api/cases").json() == {
        "cases": [],
        "next": None,
        "counts": {"unsorted": 0},
    }
    assert server.ask("/api/classes").json() == {"classes": {}, "unsorted": 0, "most": 100}
    assert post(server, "/api/cases/sort", names=["a"], label="open").status == 404
    assert server.ask("/api/cases/export.tar").status == 404


def test_a_page_has_the_newest_first_and_says_where_to_go_on(server: Web, tmp_path: Path) -> None:
    """Every case once, across pages; its fields are those of its side-car."""
    made = fill(tmp_path / "cases", 7)
    sorted_ones = fill(tmp_path / "cases", 3, "open", first=10)
    first = server.ask("/api/cases?limit=4").json()
    assert [one["name"] for one in first["cases"]] == [*sorted_ones[::-1], made[-1]]
    assert first["counts"] == {"unsorted": 7, "open": 3}
    assert listed(server, limit=4) == [*made, *sorted_ones][::-1]
    newest = first["cases"][0]
    assert newest == {
        "name": "c000012",
        "class": "open",
        "time": 1.8e9 + 12,
        "reason": "margin",
        "label": "open",
        "scores": {"open": 0.6, "closed": 0.4},
        "model": "gate 1",
    }
    assert first["cases"][3]["class"] is None


def test_filters_take_what_they_say(server: Web, tmp_path: Path) -> None:
    """Class, reason, label, score and time, each alone and together."""
    folder = tmp_path / "cases"
    with Store(folder, create=True, lock=True) as store:
        some: tuple[dict[str, object], ...] = (
            {"reason": "flips"},
            {"label": "closed", "scores": {"closed": 0.9}},
            {"label": None, "scores": {}},
            {"scores": {"open": 0.55}},
        )
        for number, changes in enumerate(some):
            content = sidecars.encode(sidecar(number, **changes))
            store.add(f"c{number}", jpeg(number), content, "" if number else "open")
        store.add("c9", jpeg(9), b"")
    assert listed(server, **{"class": "open"}) == ["c0"]
    assert listed(server, **{"class": "unsorted"}) == ["c9", "c3", "c2", "c1"]
    assert listed(server, **{"class": "absent"}) == []
    assert listed(server, reason="flips") == ["c0"]
    assert listed(server, label="closed") == ["c1"]
    assert listed(server, min_score=0.6) == ["c1", "c0"]
    assert listed(server, min_score=0.5, max_score=0.6) == ["c3", "c0"]
    assert listed(server, since=1.8e9 + 2, until=1.8e9 + 3) == ["c2"]
    assert listed(server, **{"class": "", "reason": "", "label": ""}) == [
        *("c9", "c3", "c2", "c1", "c0")
    ]


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=501", "limit=x", "limit=1.5", "limit=", "min_score=", "min_score=2"),
        *("max_score=nan", "since=-1", "class=a%2Fb"),
    ],
)
def test_a_wrong_query_is_refused(query: str, server: Web) -> None:
    """With the parameter's name, on one line."""
    got = server.ask(f"/api/cases?{query}")
    assert got.status == 400
    assert got.json()["error"]


def test_a_page_over_many_cases_is_bounded(server: Web, tmp_path: Path) -> None:
    """A filter that finds nothing reads so many side-cars, and then says where to go on."""
    folder = tmp_path / "cases"
    folder.mkdir()
    for number in range(4_100):
        (folder / f"c{number:06d}.jpg").write_bytes(b"x")
    got = server.ask("/api/cases?reason=absent").json()
    assert (got["cases"], got["next"]) == ([], "c000100")
    assert listed(server, reason="absent") == []


def test_sorting_moves_cases_and_can_be_undone(server: Web, tmp_path: Path) -> None:
    """The pictures and side-cars as they were; a class that was made stays."""
    folder = tmp_path / "cases"
    made = fill(folder, 60)
    before = snapshot(folder)
    got = post(server, "/api/cases/sort", names=[*made[:55], "absent"], label="open").json()
    assert (got["sorted"], got["missing"], got["error"]) == (55, ["absent"], "")
    assert listed(server, **{"class": "open"}) == made[:55][::-1]
    done = post(server, "/api/cases/undo", undo=got["undo"]).json()
    assert done == {"restored": 55, "missing": []}
    assert snapshot(folder) == before
    assert server.ask("/api/classes").json()["classes"] == {"open": 0}
    assert post(server, "/api/cases/undo", undo=got["undo"]).status == 404


def test_undo_leaves_alone_what_was_sorted_again(server: Web, tmp_path: Path) -> None:
    """Or deleted, or moved on the command line."""
    folder = tmp_path / "cases"
    made = fill(folder, 4)
    got = post(server, "/api/cases/sort", names=made, label="open").json()
    post(server, "/api/cases/sort", names=made[:1], label="closed")
    assert edge("cases", "sort", "--folder", folder, made[1], "ajar").returncode == 0
    assert post(server, "/api/cases/delete", names=[made[2]]).json()["deleted"] == 1
    done = post(server, "/api/cases/undo", undo=got["undo"]).json()
    assert done == {"restored": 1, "missing": made[:3]}
    assert listed(server, **{"class": "unsorted"}) == [made[3]]


def test_what_can_be_undone_is_bounded() -> None:
    """The oldest steps go; a step that was undone is gone."""
    undo = Undo()
    tokens = [undo.keep([("a", "", "open")]) for _ in range(STEPS + 1)]
    assert undo.moves(tokens[0]) is None
    assert undo.moves(tokens[1]) == [("a", "", "open")]
    undo.forget(tokens[1])
    assert undo.moves(tokens[1]) is None
    huge = undo.keep([("a", "", "open")] * 30_000)
    assert undo.moves(huge) is not None
    assert undo.moves(tokens[-1]) is None


def test_deleting_is_for_good_and_says_what_was_not_there(server: Web, tmp_path: Path) -> None:
    """Picture and side-car, sorted or not; an audit line says how many."""
    folder = tmp_path / "cases"
    made = fill(folder, 3) + fill(folder, 2, "open", first=5)
    got = post(server, "/api/cases/delete", names=[made[0], made[3], "absent", made[0]]).json()
    assert got == {"deleted": 2, "missing": ["absent"]}
    assert {Path(file).stem for file in snapshot(folder)} == {made[1], made[2], made[4]}
    assert "audit: cases: 2 deleted, by local" in server.log.read_text()


@pytest.mark.parametrize("name", ["../secret", "..", "/etc/passwd", "a\x00", "é", "a" * 129])
def test_a_hostile_name_reaches_nothing(name: str, server: Web, tmp_path: Path) -> None:
    """It is no case: not sorted, not deleted, not shown."""
    fill(tmp_path / "cases", 1)
    (tmp_path / "secret.jpg").write_bytes(jpeg())
    before = snapshot(tmp_path / "cases")
    for path, body in (
        ("/api/cases/sort", {"names": [name], "label": "open"}),
        ("/api/cases/delete", {"names": [name]}),
    ):
        got = post(server, path, **body)
        assert got.status == 400 or got.json()["missing"] == [name]
    assert snapshot(tmp_path / "cases") == before
    quoted = urllib.parse.quote(name, safe="")
    assert server.ask(f"/api/cases/{quoted}.jpg").status == 404
    assert (tmp_path / "secret.jpg").exists()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_class_that_cannot_be_a_folder_is_refused(name: str, server: Web, tmp_path: Path) -> None:
    """By every address that takes one; nothing is made."""
    made = fill(tmp_path / "cases", 1)
    fill(tmp_path / "cases", 1, "open", first=5)
    before = sorted(map(str, tmp_path.rglob("*/")))
    assert post(server, "/api/cases/sort", names=made, label=name).status == 400
    assert post(server, "/api/classes", name=name).status in (400, 409)
    assert post(server, "/api/classes/rename", name="open", to=name).status in (400, 409)
    assert post(server, "/api/classes/delete", name=name).status in (400, 409)
    body, headers = form(("a.jpg", jpeg()), label=name)
    if name and "\n" not in name:
        assert server.send("POST", "/api/cases/upload", body, headers).status == 400
    assert sorted(map(str, tmp_path.rglob("*/"))) == before


def test_classes_are_made_renamed_and_deleted(server: Web, tmp_path: Path) -> None:
    """With their cases; one with cases is not deleted, a name that is taken not given again."""
    made = fill(tmp_path / "cases", 2)
    assert post(server, "/api/classes", name="open").json()["classes"] == {"open": 0}
    post(server, "/api/classes", name="closed gate")
    post(server, "/api/cases/sort", names=made, label="open")
    assert post(server, "/api/classes/rename", name="open", to="closed gate").status == 409
    got = post(server, "/api/classes/rename", name="open", to="größer").json()
    assert got == {"classes": {"closed gate": 0, "größer": 2}, "unsorted": 0, "most": 100}
    refused = post(server, "/api/classes/delete", name="größer")
    assert refused.status == 409
    assert "2 cases" in refused.json()["error"]
    got = post(server, "/api/classes/delete", name="closed gate").json()
    assert got["classes"] == {"größer": 2}
    assert post(server, "/api/classes/delete", name="closed gate").status == 409
    assert listed(server, **{"class": "größer"}) == made[::-1]


def test_a_hundred_classes_are_enough(tmp_path: Path) -> None:
    """The next one is refused, and nothing is made."""
    with Store(tmp_path / "cases", create=True, lock=True) as store:
        for number in range(names.LABELS_MAX):
            classes.add(store, f"class {number}")
        with pytest.raises(EdgeError, match="100 classes"):
            classes.add(store, "one more")
        assert len(store.labels()) == names.LABELS_MAX
        (tmp_path / "cases" / "sorted" / "class 1" / "Thumbs.db").write_bytes(b"x")
        with pytest.raises(EdgeError, match=r"Thumbs\.db"):
            classes.remove(store, "class 1")


def test_a_picture_is_shown_small_and_not_sent_again(server: Web, tmp_path: Path) -> None:
    """Its width as asked for; a reader that has it gets 304; the file itself without a width."""
    (name,) = fill(tmp_path / "cases", 1)
    whole = server.ask(f"/api/cases/{name}.jpg")
    assert whole.body == jpeg(0)
    assert whole.headers["content-type"] == "image/jpeg"
    assert whole.headers["cache-control"] == "private, no-cache"
    small = server.ask(f"/api/cases/{name}.jpg?width=32")
    picture = cv2.imdecode(np.frombuffer(small.body, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (24, 32, 3)
    assert server.ask(f"/api/cases/{name}.jpg?width=32").body == small.body
    again = server.ask(f"/api/cases/{name}.jpg?width=32", if_none_match=small.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    assert small.headers["etag"] != whole.headers["etag"]
    for width in ("", "0", "9999", "x", "64.5"):
        assert server.ask(f"/api/cases/{name}.jpg?width={width}").status == 400


def test_what_is_no_picture_is_a_line(server: Web, tmp_path: Path) -> None:
    """Damaged, empty, a bomb, a PNG, a link, a pipe: never a 500, and nothing from elsewhere."""
    folder = tmp_path / "cases"
    folder.mkdir()
    (folder / "text.jpg").write_text("no picture")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "half.jpg").write_bytes(jpeg()[:300])
    (folder / "page.jpg").write_bytes(b"<html><script>alert(1)</script>")
    bomb = bytearray(jpeg())
    at = bomb.index(b"\xff\xc0")
    bomb[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    (folder / "bomb.jpg").write_bytes(bomb)
    (tmp_path / "secret.jpg").write_bytes(jpeg())
    (folder / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    for name in ("text", "empty", "page", "bomb", "link"):
        for query in ("", "?width=64"):
            got = server.ask(f"/api/cases/{name}.jpg{query}")
            if (name, query) != ("bomb", ""):
                assert got.status in (404, 409), (name, query, got)
                assert got.json()["error"]
    assert server.ask("/api/cases/half.jpg?width=64").status in (200, 409)
    assert "failed" not in server.log.read_text()


def test_uploads_become_cases(server: Web, tmp_path: Path) -> None:
    """Decoded and encoded again, small, with a side-car; what is no picture is skipped by name."""
    wide = cv2.imencode(".png", cv2.resize(pixels(3), (1280, 960)))[1].tobytes()
    exif = (
        jpeg(4)[:2]
        + b"\xff\xe1\x00\x1e"
        + b"Exif\0\0"
        + b"2024:05:06 07:08:09\0..".ljust(22)
        + jpeg(4)[2:]
    )
    body, headers = form(
        ("wide.png", wide),
        ("größe.jpg", exif),
        ("bad.jpg", b"no picture"),
        ("empty.jpg", b""),
        ("IMG_20230102_030405.jpg", jpeg(5)),
        label="open",
    )
    got = server.send("POST", "/api/cases/upload", body, headers)
    assert got.status == 200, got
    added = got.json()
    assert added["added"] == 3
    assert [one["file"] for one in added["skipped"]] == ["bad.jpg", "empty.jpg"]
    assert "not a picture" in added["skipped"][0]["error"]
    rows = {one["name"]: one for one in server.ask("/api/cases?class=open").json()["cases"]}
    first, second, third = (rows[name] for name in added["names"])
    assert first["time"] is None
    assert third["time"] == pytest.approx(1672628645, abs=86_400)
    assert second["time"] == pytest.approx(1714979289, abs=86_400)
    assert sorted(added["names"])[-1] > time.strftime("%Y%m%d", time.gmtime(time.time() - 3600))
    assert (second["reason"], second["class"], second["scores"]) == ("upload", "open", {})
    content = (tmp_path / "cases" / "sorted" / "open" / f"{first['name']}.jpg").read_bytes()
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (480, 640, 3)
    second_file = tmp_path / "cases" / "sorted" / "open" / f"{second['name']}.jpg"
    assert b"Exif" not in second_file.read_bytes()
    assert oct(second_file.stat().st_mode & 0o777) == "0o600"


def test_uploads_are_bounded_by_the_caps_of_cases(web: Serve, tmp_path: Path) -> None:
    """What no longer fits is skipped with the key to change; the first that does not, refused."""
    config = f'[local]\npath = "{tmp_path}/edge.sock"\n[cases]\nbytes = 100_000\nfree_bytes = 0\n'
    server = web(config=config).ready()
    noise = np.random.default_rng(1).integers(0, 256, (300, 300, 3), np.uint8)
    large = cv2.imencode(".jpg", noise)[1].tobytes()
    body, headers = form(("a.jpg", large), ("b.jpg", large), ("c.jpg", jpeg()), label="open")
    added = server.send("POST", "/api/cases/upload", body, headers).json()
    assert added["added"] == 1
    assert "cases.bytes" in added["skipped"][0]["error"]
    body, headers = form(("a.jpg", large))
    refused = server.send("POST", "/api/cases/upload", body, headers)
    assert refused.status == 409
    assert "cases.bytes" in refused.json()["error"]


def test_an_upload_of_another_kind_is_refused(server: Web, tmp_path: Path) -> None:
    """No form, no file, no end; a page of another site; nothing is written."""
    headers = {**ASK, "Content-Type": "image/jpeg"}
    assert server.send("POST", "/api/cases/upload", jpeg(), headers).status == 415
    body, headers = form(label="open")
    assert server.send("POST", "/api/cases/upload", body, headers).status == 400
    body, headers = form(("a.jpg", jpeg()))
    assert server.send("POST", "/api/cases/upload", body[:-8], headers).status == 400
    del headers["X-Edge-Request"]
    assert server.send("POST", "/api/cases/upload", body, headers).status == 403
    assert not (tmp_path / "cases").exists()


def test_an_export_is_what_the_command_line_writes(server: Web, tmp_path: Path) -> None:
    """The same members, which `edge cases import` takes in elsewhere; one class alone."""
    folder = tmp_path / "cases"
    fill(folder, 3, "open")
    fill(folder, 2, "größer/2".replace("/", " "), first=10)
    fill(folder, 2, first=20)
    got = server.ask("/api/cases/export.tar")
    assert got.headers["content-type"] == "application/x-tar"
    assert "cases.tar" in got.headers["content-disposition"]
    (tmp_path / "all.tar").write_bytes(got.body)
    assert edge("cases", "export", "--folder", folder, tmp_path / "cli.tar").returncode == 0

    def members(file: Path) -> dict[str, bytes]:
        with tarfile.open(file) as tar:
            return {one.name: tar.extractfile(one).read() for one in tar}  # type: ignore[union-attr]

    assert members(tmp_path / "all.tar") == members(tmp_path / "cli.tar")
    done = edge("cases", "import", "--folder", tmp_path / "other", tmp_path / "all.tar")
    assert done.stdout.startswith("5 cases imported"), done.stderr
    one = server.ask("/api/cases/export.tar?class=open")
    with tarfile.open(fileobj=io.BytesIO(one.body)) as tar:
        assert {name.partition("/")[0] for name in tar.getnames()} == {"open"}
    assert server.ask("/api/cases/export.tar?class=absent").status == 409
    assert server.ask("/api/cases/export.tar?class=unsorted").status == 400


def test_an_export_that_nobody_reads_to_its_end_is_over(server: Web, tmp_path: Path) -> None:
    """The next one begins; memory is bounded by a case, not by the archive."""
    folder = tmp_path / "cases" / "sorted" / "open"
    folder.mkdir(parents=True)
    for number in range(12):
        (folder / f"c{number}.jpg").write_bytes(jpeg() + bytes(7_000_000))
    begin = server.rss_bytes()
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", "/api/cases/export.tar")
    answer = connection.getresponse()
    assert answer.read(1024)
    assert server.ask("/api/cases/export.tar").status == 429
    answer.close()
    connection.close()
    wait_until(lambda: server.ask("/api/cases/export.tar").status == 200)
    assert server.rss_bytes(peak=True) - begin < 60_000_000


def test_many_change_at_once_and_every_case_is_somewhere_once(
    web: Serve, tmp_path: Path, daemon: Callable[..., Daemon], rgb: Path
) -> None:
    """Sorted by several at once, through API and command line, while the daemon adds its own."""
    config = f"""
[local]
path = "{tmp_path}/edge.sock"
[cases]
every_s = 0.05
interval_s = 0
duplicate_s = 0
per_hour = 3600
free_bytes = 0
"""
    made = fill(tmp_path / "cases", 40)
    daemon("--source", "synthetic", "--model", rgb, config=config, STATE_DIRECTORY=str(tmp_path))
    server = web(config=config).ready().connected()
    results: list[int] = []

    def sort(label: str) -> None:
        for begin in range(0, 40, 5):
            got = post(server, "/api/cases/sort", names=made[begin : begin + 5], label=label)
            results.append(got.status)

    threads = [threading.Thread(target=sort, args=(label,)) for label in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for name in made[:5]:
        edge("cases", "sort", "--folder", tmp_path / "cases", name, "d")
    for thread in threads:
        thread.join()
    assert set(results) == {200}
    wait_until(lambda: server.ask("/api/classes").json()["unsorted"] > 3)
    places = [Path(file) for file in snapshot(tmp_path / "cases") if file.endswith(".jpg")]
    stems = [path.stem for path in places]
    assert len(stems) == len(set(stems))
    assert set(made) <= set(stems)
    assert all(path.with_suffix(".json").name for path in places)


def test_a_kill_while_sorting_loses_nothing(web: Serve, tmp_path: Path) -> None:
    """Every case is whole afterwards, in its old class or the new one."""
    folder = tmp_path / "cases"
    made = fill(folder, 200)
    server = web().ready()

    def sort() -> None:
        with pytest.raises((OSError, http.client.HTTPException)):
            post(server, "/api/cases/sort", names=made, label="open")

    thread = threading.Thread(target=sort)
    thread.start()
    wait_until(lambda: len(list((folder / "sorted").glob("open/*.jpg"))) > 20)
    server.process.send_signal(signal.SIGKILL)
    thread.join()
    pictures = {Path(file).stem: file for file in snapshot(folder) if file.endswith(".jpg")}
    assert set(pictures) == set(made)
    for file in pictures.values():
        sidecars.decode((folder / file).with_suffix(".json").read_bytes())
    again = web().ready()
    left = post(again, "/api/cases/sort", names=made, label="open").json()
    assert left["missing"] == []
    assert listed(again, **{"class": "open"}) == made[::-1]


def test_a_folder_that_another_holds_is_a_line(server: Web, tmp_path: Path) -> None:
    """After seconds, with a time to try again; nothing has moved."""
    made = fill(tmp_path / "cases", 1)
    with Store(tmp_path / "cases", lock=True):
        got = post(server, "/api/cases/sort", names=made, label="open")
    assert (got.status, got.headers["retry-after"]) == (503, "2")
    assert "another process" in got.json()["error"]
    assert listed(server, **{"class": "unsorted"}) == made


def test_nobody_gets_in_who_has_not_logged_in(web: Serve, tmp_path: Path) -> None:
    """With a password every address of these asks for it; without, a change needs the header."""
    server = web(config=f'[local]\npath = "{tmp_path}/edge.sock"\n').ready()
    paths = server.ask("/openapi.json").json()["paths"]
    mine = {
        path: methods
        for path, methods in paths.items()
        if re.match("/api/(cases|classes|teach|history|why|settings|doctor)", path)
    }
    assert len(mine) >= 17
    for path, methods in mine.items():
        if "post" in methods:
            assert server.send("POST", path, b"{}", {}).status == 403, path
    done = subprocess.run(
        [sys.executable, "-m", "edge", "web", "--set-password"],
        input=b"long enough\n",
        cwd=ROOT,
        env=server.env,
        check=True,
        capture_output=True,
    )
    assert b"password set" in done.stdout
    for path, methods in mine.items():
        for method in methods:
            sent = b"{}" if method == "post" else None
            assert server.send(method.upper(), path, sent, ASK).status == 401, (path, method)
