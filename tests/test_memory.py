"""`edge bench --memory`: what a daemon's memory is, by kind of mapping."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.cli import bench_memory
from edge.errors import LocalError
from edge.telemetry.mappings import Mapping, parse
from tests.conftest import Daemon, edge, wait_until

NOWHERE = "127.0.0.1:1"
SMAPS = """\
00400000-00500000 r-xp 00000000 08:01 131 /usr/bin/python3.11
Pss:                 400 kB
Shared_Clean:        800 kB
Private_Clean:         0 kB
VmFlags: rd ex
01000000-01100000 rw-p 00000000 00:00 0 [heap]
Pss:                1000 kB
Private_Dirty:      1000 kB
Swap:                 12 kB
7f0000000000-7f0000100000 rw-p 00000000 00:00 0
Pss:                 300 kB
Private_Dirty:       300 kB
7f0000100000-7f0004000000 ---p 00000000 00:00 0
Pss:                   0 kB
7f0010000000-7f0010001000 ---p 00000000 00:00 0
Pss:                   0 kB
7f0010001000-7f0010801000 rw-p 00000000 00:00 0
Pss:                  40 kB
Private_Dirty:        40 kB
7f0020001000-7f0020101000 rw-p 00000000 00:00 0
Pss:                   7 kB
Private_Dirty:         7 kB
7f0030000000-7f0030100000 r--p 00000000 08:01 132 /usr/lib/edge-camera/cv2.abi3.so
Pss:                  80 kB
Private_Clean:        80 kB
7f0030100000-7f0030200000 rw-p 00100000 08:01 132 /usr/lib/edge-camera/cv2.abi3.so (deleted)
Pss:                  20 kB
Private_Dirty:        20 kB
7f0040000000-7f0040100000 r--p 00000000 08:01 133 /var/lib/edge-camera/a model.tflite
Pss:                  50 kB
Private_Clean:        50 kB
7ffc00000000-7ffc00100000 rw-p 00000000 00:00 0 [stack]
Pss:                  16 kB
Private_Dirty:        16 kB
7ffc10000000-7ffc10002000 r-xp 00000000 00:00 0 [vdso]
Pss:                   1 kB
Shared_Clean:          4 kB
"""


def test_each_mapping_gets_its_kind() -> None:
    """Stacks by their guards, arenas by their addresses, files by their names."""
    found = {(row.kind, row.name): row for row in parse(SMAPS.splitlines(), "/usr/bin/python3.11")}
    assert {name: row.pss // 1024 for name, row in found.items()} == {
        ("heap", ""): 1000,
        ("arenas", ""): 300,
        ("library", "cv2.abi3.so"): 100,
        ("stacks", ""): 40 + 16,
        ("file", "a model.tflite"): 50,
        ("anonymous", ""): 7,
        ("program", "python3.11"): 400,
        ("kernel", ""): 1,
    }
    assert found["heap", ""].swap == 12 * 1024
    assert found["program", "python3.11"].shared == 800 * 1024


@pytest.mark.parametrize("lines", [[], ["x"], ["0-1 rw-p 0 0 0"], SMAPS.splitlines()[1:4]])
def test_text_that_is_no_smaps_is_no_memory(lines: list[str]) -> None:
    """A process that ends while it is read leaves half a file, or none."""
    assert sum(row.private for row in parse(lines, "")) == 0


def test_every_page_is_counted_once() -> None:
    """The sums are the kernel's own, of a process that does nothing."""
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as process:
        wait_until(lambda: "/cat" in Path(f"/proc/{process.pid}/maps").read_text(), lambda: "")
        wait_until(
            lambda: Path(f"/proc/{process.pid}/stat").read_text().split()[2] == "S", lambda: ""
        )
        figures = bench_memory.run(process.pid)
        rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        process.communicate()
    total = {name: int(kb) * 1024 for name, kb in re.findall(r"^(\w+): +(\d+) kB", rollup, re.M)}
    assert figures["private_bytes"] == total["Private_Clean"] + total["Private_Dirty"]
    assert figures["shared_bytes"] + figures["private_bytes"] == total["Rss"]


def test_threads_have_stacks_and_arenas() -> None:
    """As glibc makes them here, not only as the made-up text has them."""
    script = (
        "import threading, sys\n"
        "def work(): held.append([object() for _ in range(200000)]); done.wait()\n"
        "held, done = [], threading.Event()\n"
        "thread = threading.Thread(target=work); thread.start()\n"
        "while not held: pass\n"
        "print(flush=True); sys.stdin.read(); done.set()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONMALLOC": "malloc"},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.read(1) == b"\n"
        figures = bench_memory.run(process.pid)
        process.stdin.close()
    rows = {row["kind"]: row["private_bytes"] for row in figures["mappings"]}
    assert rows["arenas"] > 2_000_000
    assert 0 < rows["stacks"] < 1_000_000


def test_it_shows_the_daemon_at_the_local_socket(
    daemon: Callable[..., Daemon], rgb: Path, tmp_path: Path
) -> None:
    """Its libraries by name; in JSON the same process as by its number."""
    config = f'[local]\npath = "{tmp_path / "s"}"\n'
    running = daemon("--source", "synthetic", "--model", rgb, "--broker", NOWHERE, config=config)
    running.wait_for_log("local socket")
    path = tmp_path / "edge.toml"
    by_socket = edge("bench", "--memory", "--json", "--config", path)
    assert by_socket.returncode == 0, by_socket.stderr
    figures = json.loads(by_socket.stdout)
    assert figures["process"] == running.process.pid
    assert 10e6 < figures["private_bytes"] < figures["pss_bytes"] + 1e6
    names = {row["name"] for row in figures["mappings"] if row["kind"] == "library"}
    assert any("cv2" in name for name in names)
    table = edge("bench", "--memory", str(running.process.pid)).stdout
    assert "heap" in table
    assert f"process {running.process.pid}" in table


def test_no_daemon_and_no_process_are_one_line(tmp_path: Path) -> None:
    """With the status of a service that is not there."""
    (tmp_path / "edge.toml").write_text(f'[local]\npath = "{tmp_path / "none"}"\n')
    done = edge("bench", "--memory", "--config", tmp_path / "edge.toml")
    assert (done.returncode, done.stdout) == (69, "")
    assert done.stderr == (
        f"edge: {tmp_path / 'none'}: No such file or directory; is the daemon running? else name"
        " its process: --memory NUMBER\n"
    )
    done = edge("bench", "--memory", "99999999")
    assert done.returncode == 69
    assert "process 99999999: No such file or directory" in done.stderr


def test_another_users_process_asks_for_sudo(tmp_path: Path) -> None:
    """As the kernel refuses it."""

    class Denied(type(Path())):  # type: ignore[misc]
        def open(self, *_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

    with pytest.raises(LocalError, match="Permission denied; it is another user's: use sudo"):
        bench_memory.run(1, Denied(tmp_path))


def test_small_libraries_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """What is worth a line has one; the sum has all."""
    rows = [Mapping("heap", "", 5_000_000, 0, 5_000_000)]
    rows += [Mapping("library", f"lib{n}.so", 50_000, 10_000, 60_000) for n in range(3)]
    figures = {"process": 7, "private_bytes": 5_150_000, "shared_bytes": 30_000}
    figures |= {"pss_bytes": 5_180_000}
    mappings = [
        {"kind": row.kind, "name": row.name}
        | {f"{name}_bytes": getattr(row, name) for name in bench_memory.FIGURES}
        for row in rows
    ]
    bench_memory.draw({**figures, "mappings": mappings})
    output = capsys.readouterr().out
    assert "3 libraries and files" in output
    assert "lib0" not in output
    assert "0.15" in output
    assert "5.18" in output
