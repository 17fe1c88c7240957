"""What the daemon's process holds of modules that it does not use: nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT, WAIT_S

DUMP = """
import json, os, runpy, sys
from types import ModuleType
def end(status):
    executed = [name for name, module in sys.modules.items() if type(module) is not lazy]
    print(json.dumps([executed, sys.modules["hashlib"].sha256(b"abc").hexdigest()]))
    sys.stdout.flush()
    end_now(status)
end_now, os._exit = os._exit, end
from edge import lean
lazy = lean._Module
sys.argv = ["edge", "run", "--source", "deploy/demo/pictures", "--once"]
try:
    runpy.run_module("edge", run_name="__main__")
except SystemExit as exc:
    end(exc.code)
"""
OURS = {"edge", "numpy", "cv2", "msgspec", "paho", "systemd", "ai_edge_litert", "tflite_runtime"}
LIBRARY = """
__future__ abc argparse array ast atexit base64 binascii bisect builtins bz2 codecs
collections contextlib contextvars copy copyreg ctypes dataclasses datetime decimal
difflib dis encodings enum errno fcntl fnmatch functools genericpath gettext glob grp
hashlib heapq importlib inspect io ipaddress itertools json keyword linecache locale
logging lzma marshal math mmap ntpath numbers opcode operator os pathlib pickle platform
posix posixpath pwd queue random re reprlib resource runpy select selectors shutil
signal site sitecustomize socket sqlite3 sre_compile sre_constants sre_parse stat string
stringprep struct subprocess sys syslog tarfile tempfile textwrap threading time token
tokenize tomllib traceback types typing typing_extensions unicodedata urllib uuid
warnings weakref zipfile zipimport zlib
"""
"""Top-level modules of Python that a daemon without TLS may have."""
KEPT_OUT = {
    *("_ssl", "ssl", "_hashlib", "http.client", "email", "urllib.request", "importlib.metadata"),
    *("numpy.random", "numpy.fft", "numpy.ma", "numpy.polynomial", "numpy.ctypeslib"),
}


def test_a_daemon_without_tls_has_only_these_modules() -> None:
    """And hashes as it would with OpenSSL."""
    run = subprocess.run(
        [sys.executable, "-c", DUMP],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        timeout=WAIT_S,
    )
    executed, digest = json.loads(run.stdout.splitlines()[-1])
    tops = {name.split(".")[0] for name in executed} - {"__main__", "__mp_main__"}
    assert {top for top in tops if not top.startswith("_")} - {*LIBRARY.split()} - OURS == set()
    assert KEPT_OUT & set(executed) == set()
    assert digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_module_is_executed_once_at_its_first_use(tmp_path: Path) -> None:
    """Whichever threads use it; missing names are missing as ever; an error is raised."""
    (tmp_path / "slow.py").write_text(
        "import builtins, time\nbuiltins.runs = getattr(builtins, 'runs', 0) + 1\n"
        "time.sleep(0.1)\nname = 'here'\n"
    )
    (tmp_path / "broken.py").write_text("raise ValueError('no')\n")
    (tmp_path / "itself.py").write_text("import itself\nname = getattr(itself, 'name', 'own')\n")
    script = f"""
import builtins, sys, threading
sys.path.insert(0, {str(tmp_path)!r})
from edge import lean
lean.LAZY = frozenset({{"slow", "broken", "itself"}})
lean.begin()
import slow, broken, itself
import slow
assert not hasattr(builtins, "runs") and type(slow) is lean._Module and slow.__name__ == "slow"
got = []
threads = [threading.Thread(target=lambda: got.append(slow.name)) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert got == ["here"] * 8 and builtins.runs == 1, got
assert not hasattr(slow, "other")
assert itself.name == "own"
for _ in range(2):
    try:
        broken.name
    except ValueError:
        print("raised")
"""
    run = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=WAIT_S,
    )
    assert (run.returncode, run.stdout) == (0, "raised\nraised\n"), run.stderr


def test_nothing_in_a_frame_needs_masked_arrays() -> None:
    """numpy.ma takes 20 ms to import, under the interpreter's lock: at a frame's expense."""
    beside = ("cli", "learn", "web", "doctor")
    for path in (ROOT / "edge").rglob("*.py"):
        if path.relative_to(ROOT / "edge").parts[0] not in beside:
            found = re.search(r"np\.(nan)?(median|quantile|percentile)\(", path.read_text())
            assert not found, f"{path}: {found}"
