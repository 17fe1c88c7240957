"""Models by name: found where they are installed, and nowhere else."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import ModelError
from edge.model import installed, locate
from tests.conftest import ROOT, Daemon, edge, model_folder


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The service's state directory, with the model `rgb` in it."""
    folder = tmp_path / "state"
    model_folder(folder / "models" / "rgb")
    monkeypatch.setenv("STATE_DIRECTORY", str(folder))
    return folder


def test_a_name_is_the_folder_of_that_name(state: Path) -> None:
    """The shipped model by its name or by none; one in the state directory by its own."""
    assert locate.find("catdog") == locate.find("") == locate.find(str(ROOT / "models" / "catdog"))
    assert locate.find("rgb").path == state / "models" / "rgb" / "uint8io.tflite"
    assert {"catdog", "rgb"} <= set(installed.names())


def test_a_wrong_name_is_one_line_with_the_names_that_exist(state: Path) -> None:
    """In order, with the likeliest as the hint; folders without a card are not among them."""
    (state / "models" / "empty").mkdir()
    names = installed.names()
    assert "empty" not in names
    with pytest.raises(ModelError) as caught:
        locate.find("catdgo")
    assert str(caught.value) == (
        f"model.path: model not found: expected one of {', '.join(names)}, or a path with a slash,"
        " got catdgo; did you mean `catdog`?"
    )


def test_a_name_wins_over_a_file_and_a_path_over_nothing(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a name means does not depend on the folder that a program runs in."""
    monkeypatch.chdir(tmp_path)
    mine = model_folder(tmp_path / "catdog")
    model_folder(tmp_path / "other")
    assert locate.find("catdog").card.labels == ("cat", "dog", "neither")
    assert locate.find("./catdog").path.resolve() == mine / "uint8io.tflite"
    assert locate.find("other").card.name == "uint8io"
    with pytest.raises(ModelError, match=r"none\.tflite: model not found; give a"):
        locate.find("none.tflite")


def test_a_shipped_name_cannot_be_taken(state: Path) -> None:
    """A model in the state directory is not what `catdog` means."""
    shutil.copytree(state / "models" / "rgb", state / "models" / "catdog")
    assert locate.find("catdog").card.labels == ("cat", "dog", "neither")


@pytest.mark.parametrize("text", ["..", ".", "-x", "a/b", "~root", "a\n", "x" * 65, "", "m.toml"])
def test_what_is_no_name_is_not_looked_up(text: str, state: Path) -> None:
    """Nothing outside the places of models has a name."""
    shutil.copy(state / "models" / "rgb" / "model.toml", state / "model.toml")
    assert not installed.is_name(text)
    assert installed.folder(text) is None


@given(st.text(max_size=70))
def test_a_name_leads_to_a_folder_inside_its_place(text: str) -> None:
    """Whatever was typed."""
    found = installed.folder(text)
    assert found is None or found.parent in installed.places()


def test_a_place_that_may_not_be_read_has_no_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service's state is its own; a file in the place of the folder is no model either."""
    (tmp_path / "models").write_text("no folder")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    assert "catdog" in installed.names()
    assert installed.folder("rgb") is None
    locked = model_folder(tmp_path / "locked" / "models" / "rgb").parent
    monkeypatch.setenv("STATE_DIRECTORY", str(locked.parent))
    assert installed.folder("rgb") == locked / "rgb"
    locked.chmod(0)
    with somebody():
        assert installed.folder("rgb") is None
        assert "rgb" not in installed.names()
    locked.chmod(0o700)


@contextlib.contextmanager
def somebody() -> Iterator[None]:
    """Be a user who may not read everything."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_commands_take_a_name(state: Path, tmp_path: Path) -> None:
    """`edge classify`, `check`, `bench` and `doctor`; the wrong one ends with status 78."""
    picture = ROOT / "models" / "catdog" / "golden.png"
    assert edge("classify", "--model", "catdog", picture).stdout.startswith(f"{picture}: cat ")
    wrong = edge("classify", "--model", "dogcat", picture)
    assert wrong.returncode == 78
    assert wrong.stderr.count("\n") == 1
    assert "expected one of catdog" in wrong.stderr
    (tmp_path / "c.toml").write_text('model.path = "rgb"\n')
    for command in ("check", "doctor"):
        done = edge(command, "--config", tmp_path / "c.toml")
        assert "uint8io" in done.stdout, done
    done = edge("bench", "--model", "rgb", "--frames", "20", "--json")
    assert '"model": "uint8io"' in done.stdout


def test_the_daemon_takes_a_name_from_its_config(
    daemon: Callable[..., Daemon], state: Path, tmp_path: Path
) -> None:
    """At the start and at a reload; a wrong one is refused there, and the old model goes on."""
    running = daemon(
        *("--source", "synthetic", "--broker", "localhost:1"), config='model.path = "rgb"\n'
    )
    running.wait_for_log("red -> green")
    (tmp_path / "edge.toml").write_text('model.path = "rbg"\n')
    running.process.send_signal(signal.SIGHUP)
    running.wait_for_log("not reloaded: model.path: model not found: expected one of catdog")
    model_folder(state / "models" / "other")
    (tmp_path / "edge.toml").write_text('model.path = "other"\n')
    running.process.send_signal(signal.SIGHUP)
    running.wait_for_log(" reloaded")
    assert running.stop() == 0
