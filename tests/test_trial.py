"""An unproven model may crash, hang or grow, at the start and at a reload."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Queue

import msgspec
import pytest
from hypothesis import given

from edge import config as configs
from edge.background import Call
from edge.config import Config, ModelConfig
from edge.daemon.reload import Reload
from edge.errors import ModelError
from edge.model import attempt, locate, proof, trial
from edge.model.attempt import SHIPPED_SHA256, Attempt
from edge.model.engine import Engine, load, start
from edge.model.locate import Gives
from tests import odd_models
from tests.conftest import MODELS, ROOT, WAIT_S, Daemon, model_folder
from tests.fuzz import fuzz, mutated
from tests.test_systemd import Manager

Start = Callable[..., Daemon]
NOWHERE = ("--source", "synthetic", "--broker", "localhost:1")
BIG = "too much memory"
LITTLE = "max_memory_bytes = 40_000_000"
"""Its memory limit: an input of the largest size has 50 MB."""
USUAL_BYTES = 80_000_000
"""Of the process with a small model, at most."""
MORE_BYTES = 100_000_000
"""That any model may cost the process that tries it in another."""
MEASURED = (
    "import resource, subprocess, sys;"
    "status = subprocess.run(sys.argv[1:], timeout=20).returncode;"
    "print(status, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)"
)
"""Runs a command; prints its status and the most memory that it or a child of it has taken."""


def golden_nul(folder: Path) -> Path:
    """Return a model whose golden picture has a name that no file can have."""
    model_folder(folder)
    golden = '[golden]\npicture = "a\\u0000b"\nscores = [1.0, 0.0, 0.0]\n'
    (folder / "model.toml").write_text((folder / "model.toml").read_text() + golden)
    return folder


def pipe(folder: Path) -> Path:
    """Return a named pipe that nobody writes to."""
    folder.mkdir()
    os.mkfifo(folder / "pipe.tflite")
    return folder / "pipe.tflite"


def sparse(folder: Path) -> Path:
    """Return a file of 30 GB that takes no disk."""
    folder.mkdir()
    with (folder / "sparse.tflite").open("wb") as file:
        file.write(b"\x1c\0\0\0TFL3")
        file.truncate(30 << 30)
    return folder / "sparse.tflite"


def no_model(folder: Path) -> Path:
    """Return a folder whose name is a model's."""
    (folder / "folder.tflite").mkdir(parents=True)
    return folder / "folder.tflite"


def made(make: Callable[[Path, int], Path], side: int) -> Callable[[Path], Path]:
    """Return a function that makes a model of that side in a folder of its own."""

    def into(folder: Path) -> Path:
        folder.mkdir()
        return make(folder, side)

    return into


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "crashes": (
        lambda folder: odd_models.patched(folder, "crashes"),
        "model.tflite: the model crashes its interpreter: SIGSEGV",
    ),
    "cannot be run": (
        lambda folder: odd_models.patched(folder, "cannot be run"),
        "model.tflite: the model cannot be run: RuntimeError: Input tensor",
    ),
    "raises": (
        lambda folder: odd_models.patched(folder, "raises"),
        "model.tflite: the model cannot be loaded: 'utf-8' codec can't decode",
    ),
    "too wide": (
        made(odd_models.wide, 20_000),
        "the model's input is too large: expected at most 2048 pixels a side,"
        " got (1, 20000, 20000, 3)",
    ),
    BIG: (
        made(odd_models.wide, 2_048),
        "if it needs more than 40 MB, raise `max_memory_bytes` in [model]",
    ),
    "golden NUL": (golden_nul, "model.toml: golden.picture: NUL character"),
    "pipe": (pipe, "pipe.tflite: the model cannot be read: is a named pipe: expected a regular"),
    "sparse": (sparse, "model file is too large: expected at most 536870912 bytes, got 322122547"),
    "folder": (no_model, "folder.tflite/model.toml: model not found"),
}
"""Kind -> a function that makes it in a folder, and a part of its error line."""


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_model_ends_the_start_in_one_line(kind: str, tmp_path: Path) -> None:
    """Status 78, no traceback, and neither process takes much more than usual."""
    make, words = BAD[kind]
    model = make(tmp_path / "model")
    (tmp_path / "edge.toml").write_text(f"[model]\n{LITTLE if kind == BIG else ''}\n")
    config = ("--config", str(tmp_path / "edge.toml"))
    command = [sys.executable, "-m", "edge", "run", *config, *NOWHERE, "--model", str(model)]
    with (tmp_path / "log").open("wb") as log:
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, *command],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=log,
            timeout=2 * WAIT_S,
            check=True,
        )
    status, peak_bytes = map(int, done.stdout.split())
    lines = [line for line in (tmp_path / "log").read_text().splitlines() if "INFO: " not in line]
    assert status == 78, lines
    assert len(lines) == 1
    assert words in lines[0]
    assert peak_bytes < USUAL_BYTES + MORE_BYTES


def test_no_bad_model_ends_a_daemon_that_runs(daemon: Start, tmp_path: Path, rgb: Path) -> None:
    """Each is refused with its line, the old model goes on; then a good one is accepted."""
    running = daemon(*NOWHERE, config=f'[model]\npath = "{rgb}"\n')
    running.wait_for_log("red -> green")
    before = hwm(running.process.pid)
    for number, (kind, (make, words)) in enumerate(BAD.items()):
        model, limit = make(tmp_path / f"model{number}"), LITTLE if kind == BIG else ""
        (tmp_path / "edge.toml").write_text(f'[model]\npath = "{model}"\n{limit}\n')
        running.process.send_signal(signal.SIGHUP)
        running.wait_for_log(words)
        wait_for_lines(running, "not reloaded", number + 1)
    assert "Traceback" not in running.log.read_text()
    assert hwm(running.process.pid) < before + MORE_BYTES
    other = model_folder(tmp_path / "other", "int8")
    (tmp_path / "edge.toml").write_text(f'[model]\npath = "{other}"\n')
    running.process.send_signal(signal.SIGHUP)
    running.wait_for_log(" reloaded")
    wait_for_lines(running, "red -> green", running.log.read_text().count("red -> green") + 1)
    assert running.stop() == 0


def test_a_model_that_hangs_holds_up_nothing(
    daemon: Start, tmp_path: Path, rgb: Path, request: pytest.FixtureRequest
) -> None:
    """During its trial frames go on and the watchdog is fed; the next reload replaces it."""
    manager = Manager(tmp_path)
    request.addfinalizer(manager.close)
    running = daemon(
        *NOWHERE,
        config=f'[model]\npath = "{rgb}"\n',
        NOTIFY_SOCKET=str(manager.path),
        WATCHDOG_USEC="400000",
    )
    assert manager.hear().startswith("READY=1")
    (tmp_path / "edge.toml").write_text(
        f'[model]\npath = "{odd_models.endless(tmp_path)}"\nrequire_xnnpack = false\n'
    )
    running.process.send_signal(signal.SIGHUP)
    assert manager.hear("STATUS=", "WATCHDOG=1").startswith("RELOADING=1")
    seen = running.log.read_text().count(" -> ")
    assert [manager.hear("STATUS=") for _ in range(20)] == ["WATCHDOG=1"] * 20  # 4 s
    assert running.log.read_text().count(" -> ") > seen + 1
    assert children(running.process.pid)
    (tmp_path / "edge.toml").write_text(f'[model]\npath = "{rgb}"\n[smoothing]\nwindow = 3\n')
    running.process.send_signal(signal.SIGHUP)
    running.wait_for_log(" reloaded")
    assert not children(running.process.pid)
    assert "not reloaded" not in running.log.read_text()


def test_reloads_of_one_model_let_its_trial_go_on(daemon: Start, tmp_path: Path, rgb: Path) -> None:
    """However many reloads come, one trial runs, and comes to its end."""
    running = daemon(*NOWHERE, config=f'[model]\npath = "{rgb}"\n')
    running.wait_for_log("ready after")
    (tmp_path / "edge.toml").write_text(
        f'[model]\npath = "{odd_models.endless(tmp_path)}"\nrequire_xnnpack = false\n'
    )
    running.process.send_signal(signal.SIGHUP)
    wait_until(lambda: bool(children(running.process.pid)))
    first = children(running.process.pid)
    for _ in range(5):
        running.process.send_signal(signal.SIGHUP)
        wait_for_lines(running, " -> ", running.log.read_text().count(" -> ") + 1)
        assert children(running.process.pid) == first


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_start_that_tries_a_model_ends_at_once(
    number: int, daemon: Start, tmp_path: Path
) -> None:
    """Status 0, no traceback, and the child is gone."""
    model = odd_models.endless(tmp_path)
    running = daemon(*NOWHERE, config=f'[model]\npath = "{model}"\nrequire_xnnpack = false\n')
    wait_until(lambda: bool(children(running.process.pid)))
    (child,) = children(running.process.pid)
    assert running.stop(number) == 0
    assert running.log.read_text().count("\n") == 1
    assert not Path(f"/proc/{child}").exists()


def test_a_trial_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose invoke never returns is refused by time, and its process is gone."""
    monkeypatch.setattr(trial, "LIMIT_S", 2.0)
    wanted = ModelConfig(path=str(odd_models.endless(tmp_path)), require_xnnpack=False)
    with pytest.raises(ModelError, match=r"endless\.tflite: the model does not finish in 2 s"):
        start(wanted)
    assert not children(os.getpid())


@pytest.mark.long
def test_a_model_that_hangs_is_refused_in_time(daemon: Start, tmp_path: Path, rgb: Path) -> None:
    """At a reload and at the start, with the limit that is in force; frames go on."""
    running = daemon(*NOWHERE, config=f'[model]\npath = "{rgb}"\n')
    running.wait_for_log("ready after")
    text = f'[model]\npath = "{odd_models.endless(tmp_path)}"\nrequire_xnnpack = false\n'
    (tmp_path / "edge.toml").write_text(text)
    running.process.send_signal(signal.SIGHUP)
    limit_s = trial.LIMIT_S + WAIT_S
    wait_until(lambda: "not reloaded" in running.log.read_text(), limit_s)
    assert "does not finish in 40 s" in running.log.read_text()
    assert running.log.read_text().count(" -> ") > trial.LIMIT_S / 2
    running.stop()
    again = daemon(*NOWHERE, config=text)
    assert again.process.wait(limit_s) == 78
    assert "does not finish in 40 s" in again.log.read_text()


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The files that were tried; proofs are remembered in a folder of the test's own."""
    tried: list[str] = []

    class Counted(trial.Trial):
        def __init__(
            self, config: ModelConfig, file: Path, sha256: str, gives: Gives = "scores"
        ) -> None:
            tried.append(file.name)
            super().__init__(config, file, sha256, gives)

    monkeypatch.setattr(attempt, "Trial", Counted)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setattr(proof, "_process", set())
    return tried


def test_a_model_is_tried_once(
    trials: list[str], rgb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the process and after it; again with another card, other threads or another file."""
    wanted = ModelConfig(path=str(rgb), threads=1)
    start(wanted)
    start(wanted)
    assert trials == ["uint8io.tflite"]
    monkeypatch.setattr(proof, "_process", set())  # as in another process
    start(wanted)
    assert len(trials) == 1
    start(msgspec.structs.replace(wanted, require_xnnpack=False))
    assert len(trials) == 2
    model_folder(rgb, labels='["red", "green", "azure"]')
    start(wanted)
    assert len(trials) == 3
    model_folder(rgb, "int8")
    start(wanted)
    assert trials[3:] == ["int8.tflite"]


def test_what_proved_itself_is_remembered_in_the_state_directory(
    trials: list[str], rgb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is one; a file that is no such list, or a folder that is none, costs a trial."""
    state = tmp_path / "state"
    monkeypatch.setenv("STATE_DIRECTORY", str(state))
    wanted = ModelConfig(path=str(rgb), threads=1)
    start(wanted)
    (known,) = json.loads((state / "proven.json").read_text())
    for content in (b"\xff\xfe", b'{"a": 1}', b"[" * 5000, b"[1, null]", b""):
        (state / "proven.json").write_bytes(content)
        monkeypatch.setattr(proof, "_process", set())
        start(wanted)
        assert json.loads((state / "proven.json").read_text()) == [known]
    assert len(trials) == 6
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "file"))
    monkeypatch.setattr(proof, "_process", set())
    start(wanted)
    start(wanted)
    assert len(trials) == 7
    assert not (tmp_path / "cache").exists()


def test_what_is_remembered_is_bounded(tmp_path: Path) -> None:
    """The oldest gives way; one that comes again is the newest."""
    names = [proof.digest(number=number) for number in range(proof.KEPT + 5)]
    for name in (*names, names[10]):
        proof.remember(name, tmp_path)
    kept = json.loads((tmp_path / proof.NAME).read_text())
    assert kept == [*(name for name in names[5:] if name != names[10]), names[10]]


def test_the_shipped_model_is_not_tried(trials: list[str]) -> None:
    """Its start stays as fast as it was; its checksum is the card's."""
    engine = start(ModelConfig())
    assert not trials
    assert engine.sha256 == engine.card.sha256 == SHIPPED_SHA256[engine.card.name]
    cards = [locate.read(path) for path in (ROOT / "models").glob("*/model.toml")]
    assert {card.name: card.sha256 for card in cards} == SHIPPED_SHA256


def test_a_refusal_is_not_remembered(trials: list[str], tmp_path: Path) -> None:
    """A bad model is tried each time."""
    wanted = ModelConfig(path=str(odd_models.patched(tmp_path / "bad", "crashes")))
    for _ in range(2):
        with pytest.raises(ModelError, match="SIGSEGV"):
            start(wanted)
    assert len(trials) == 2
    assert not (tmp_path / "cache").exists()


def test_only_what_was_proven_is_loaded(trials: list[str], rgb: Path) -> None:
    """A file that is replaced while it is tried is not the one that passed."""
    wanted = ModelConfig(path=str(rgb))
    tried = Attempt(wanted)
    assert tried.run()
    crashing = odd_models.patched(rgb.parent / "bad", "crashes") / "model.tflite"
    (rgb / "uint8io.tflite").write_bytes(crashing.read_bytes())
    with pytest.raises(ModelError, match="the model's file has changed while it was being proven"):
        load(wanted, tried.sha256)


class Held:
    """Stands for the identification of models; holds its thread until ``release``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.threads: set[str] = set()
        self._gate, self._real = threading.Event(), attempt.identify
        self._begun: Queue[None] = Queue()
        monkeypatch.setattr(attempt, "identify", self._identify)

    def _identify(self, config: ModelConfig, gives: Gives) -> attempt.Identity:
        self.calls.append(f"begin {Path(config.path).name}")
        self.threads.add(threading.current_thread().name)
        self._begun.put(None)
        assert self._gate.wait(WAIT_S)
        self.calls.append(f"end {Path(config.path).name}")
        return self._real(config, gives)

    def begun(self) -> None:
        """Return once a further identification has begun."""
        self._begun.get(timeout=WAIT_S)

    def release(self) -> None:
        """Let all of them go on."""
        self._gate.set()


def loaded(reload: Reload) -> tuple[Config, Engine]:
    """Return what comes of a reload."""
    taken: list[tuple[Config, Engine]] = []

    def poll() -> bool:
        result = reload.poll()
        taken.extend([result] if result else [])
        return bool(taken)

    wait_until(poll)
    return taken[0]


def test_a_reload_does_not_wait_while_a_model_is_hashed(
    trials: list[str], rgb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop goes on beside it: ``begin`` and ``poll`` return before the file has been read."""
    held = Held(monkeypatch)
    new = configs.load(None, {"model": {"path": str(rgb)}})
    reload = Reload(lambda: new)
    reload.begin(configs.load(None))
    held.begun()
    held.calls.append("loop")
    assert [reload.poll() for _ in range(3)] == [None] * 3
    held.calls.append("loop")
    held.release()
    config, engine = loaded(reload)
    assert held.calls == ["begin rgb", "loop", "loop", "end rgb"]
    assert held.threads == {"model"}
    assert (config, engine.path.parent) == (new, rgb)
    assert trials == ["uint8io.tflite"]
    assert reload.poll() is None


def test_a_model_that_is_missed_at_once_ends_the_trial_that_it_took_over(
    trials: list[str], rgb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two reloads, where the second one's thread is faster than the loop's next step."""
    first = Attempt(ModelConfig(path=str(rgb)))
    wait_until(lambda: first.wait(0.0) or bool(trials))
    tested = first._tested
    assert tested is not None
    ended: list[None] = []
    monkeypatch.setattr(tested.trial, "close", lambda: ended.append(None))

    def at_once(call: Callable[[], object], name: str) -> Call[object]:
        made = Call(call, name=name)
        assert made.wait(WAIT_S)
        return made

    monkeypatch.setattr(attempt, "Call", at_once)
    with pytest.raises(ModelError, match="model not found"):
        Attempt(ModelConfig(path=str(rgb / "none")), first)
    first.close()
    assert ended == [None]
    trial.Trial.close(tested.trial)


def test_models_are_hashed_one_at_a_time(
    trials: list[str], rgb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many reloads come meanwhile, only the newest follows the one that is read."""
    held = Held(monkeypatch)
    names = ["rgb", "b", "c", "d"]
    folders = [rgb, *(model_folder(tmp_path / name, "int8") for name in names[1:])]
    models = iter(configs.load(None, {"model": {"path": str(folder)}}) for folder in folders)
    reload = Reload(lambda: next(models))
    reload.begin(configs.load(None))
    held.begun()
    for _ in names[1:]:
        reload.begin(configs.load(None))
        assert reload.poll() is None
    assert held.calls == ["begin rgb"]
    held.release()
    assert loaded(reload)[1].path.parent == tmp_path / "d"
    assert held.calls == ["begin rgb", "end rgb", "begin d", "end d"]
    assert trials == ["int8.tflite"]


def test_a_start_ends_while_a_model_is_hashed(rgb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal is noticed however long the file takes to read."""
    held = Held(monkeypatch)
    assert Attempt(ModelConfig(path=str(rgb))).run(lambda: True) is False
    held.begun()
    assert held.calls == ["begin rgb"]
    held.release()


def test_a_reload_without_its_model_is_refused_once(tmp_path: Path) -> None:
    """The error of the thread that hashes it is raised on the loop's."""
    missing = configs.load(None, {"model": {"path": str(tmp_path / "none")}})
    reload = Reload(lambda: missing)
    reload.begin(configs.load(None))
    with pytest.raises(ModelError, match="model not found"):
        loaded(reload)
    assert reload.poll() is None


def test_a_trial_ends_when_the_next_model_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its process nor its files outlive the refusal."""

    class AtOnce(Call[attempt.Identity]):
        def __init__(self, call: Callable[[], attempt.Identity], name: str) -> None:
            super().__init__(call, name=name)
            assert self.wait(WAIT_S)

    monkeypatch.setattr(attempt, "Call", AtOnce)
    before, others = memory_files(), children(os.getpid())
    model = odd_models.endless(tmp_path)
    first = Attempt(ModelConfig(path=str(model), require_xnnpack=False))
    assert len(children(os.getpid())) == len(others) + 1
    with pytest.raises(ModelError, match="model not found"):
        Attempt(ModelConfig(path=str(tmp_path / "none")), first)
    first.close()
    assert children(os.getpid()) == others
    assert memory_files() == before


def test_a_trial_that_cannot_begin_leaves_no_file(tmp_path: Path) -> None:
    """Of a model that has gone meanwhile."""
    before = memory_files()
    with pytest.raises(OSError, match="none"):
        trial.Trial(ModelConfig(), tmp_path / "none", "")
    assert memory_files() == before


def test_the_child_finds_a_package_that_lies_apart(tmp_path: Path, rgb: Path) -> None:
    """The Debian package's program sets the path itself, and asks for an isolated Python."""
    program = tmp_path / "edge"
    program.write_text(
        f"import sys\nsys.path[:0] = [{str(ROOT)!r}]\nfrom edge.__main__ import leave\nleave()\n"
    )
    done = subprocess.run(
        [sys.executable, "-IB", str(program), "classify", "--model", str(rgb), "no.png"],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stderr.endswith("no.png: no such file\n"), done.stderr
    assert len(json.loads((tmp_path / "cache/edge-camera/proven.json").read_text())) == 1


def test_what_takes_too_long_to_import_is_not_the_models_memory(rgb: Path) -> None:
    """The smallest limit is enough for a small model: the program itself does not count."""
    start(ModelConfig(path=str(rgb), threads=1, max_memory_bytes=10_000_000))


@pytest.mark.fuzz
@fuzz(10)
@given(content=mutated([path.read_bytes() for path in sorted(MODELS.glob("*.tflite"))]))
def test_no_model_file_is_worse_than_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    """Any bytes: the model passes, or there is one line."""
    folder = tmp_path_factory.mktemp("fuzzed")
    (folder / "fuzzed.tflite").write_bytes(content)
    (folder / "labels.txt").write_text("red\ngreen\nblue\n")
    wanted = ModelConfig(path=str(folder / "fuzzed.tflite"), threads=1, require_xnnpack=False)
    try:
        Attempt(wanted).run()
    except ModelError as exc:
        assert "\n" not in str(exc)  # noqa: PT017, whichever of many


def hwm(pid: int) -> int:
    """Return the most memory that a process has taken so far, bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def memory_files() -> int:
    """Return how many files in memory this process has."""
    links = [os.readlink(file) for file in Path("/proc/self/fd").iterdir() if file.is_symlink()]
    return sum(link.startswith("/memfd:") for link in links)


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += map(int, task.read_text().split())
    return found


def wait_for_lines(running: Daemon, words: str, count: int) -> None:
    """Return once the log has so many lines with ``words`` in them."""
    wait_until(lambda: running.log.read_text().count(words) >= count)


def wait_until(condition: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
    """Return once ``condition`` holds; fail after ``timeout_s``."""
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)
