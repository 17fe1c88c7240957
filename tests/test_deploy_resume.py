"""Rollouts that end at a bad moment, and what the same command makes of it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from deploy import remote, rollout
from deploy.engine import Engine
from deploy.facts import Facts
from deploy.gates import Limits
from deploy.host import RELEASES, Host
from deploy.model_subject import ModelSubject
from deploy.package_subject import PackageSubject
from tests.conftest import ROOT
from tests.script_hosts import DEVICE, Fleet
from tests.test_deploy import ARCH, package, there

START = (
    "import signal, sys; from deploy import remote, rollout; remote.FOLDER = '.';"
    "signal.signal(signal.SIGTERM, rollout.interrupt); sys.exit(rollout.main(sys.argv[1:]))"
)


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """Hosts a to c with version 1."""
    monkeypatch.setattr(remote, "FOLDER", ".")
    fleet = Fleet(tmp_path)
    (fleet.folder / "list.txt").write_text("a\nb\nc\n")
    return fleet


def otherwise(fleet: Fleet, host: str, old: str, new: str) -> None:
    """Let a host's program do something else at one place."""
    assert old in DEVICE
    own = DEVICE.replace('[ ! -e instead ] || exec sh instead "$@"\n', "")
    fleet.answer(host, f'set -- x "$@"\n{own.replace(old, new)}')


def end_when(path: Path, how: signal.Signals, words: Sequence[str]) -> None:
    """Run a rollout, and end it once ``path`` is there."""
    command = [sys.executable, "-c", START, *words]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        while not path.exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(how)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("more", [["--waves=3"], ["--waves=2 1", "--back=all"]])
def test_one_that_goes_back_when_it_ends_is_looked_at(
    fleet: Fleet, how: signal.Signals, more: list[str]
) -> None:
    """It was healthy; it goes back without the connection, and gets the new one again."""
    fleet.set("c", "slow")
    leaves = 'back)\n touch backing; (trap "" HUP TERM; setsid sh -c "sleep 1; echo 1 >version;'
    leaves += ' rm -f sent; touch gone" >/dev/null 2>&1 &); sleep 9;\n'
    otherwise(fleet, "b", "back)\n", leaves)

    end_when(fleet.hosts / "b" / "backing", how, fleet.words("--parallel=3", *more))

    while not (fleet.hosts / "b" / "gone").exists():
        time.sleep(0.05)
    assert fleet.states()[1] == "changing"
    fleet.set("b")
    fleet.set("c")
    assert fleet.run(*more) == 0
    assert fleet.versions()[:3] == ["2", "2", "2"]


def test_a_wave_is_judged_whole_after_an_interruption(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of its devices was well by itself by then."""
    for host in "abc":
        fleet.set(host, "unlike")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "_judge_wave", interrupted)
        assert fleet.run("--waves=3") == 130
    assert fleet.states() == ["healthy"] * 3
    assert fleet.run("--waves=3") == 3
    assert fleet.states() == ["back"] * 3


@pytest.mark.parametrize("name", ["x" * 150, "\u0416" * 60, '"' * 90])
def test_long_labels_are_compared_too(fleet: Fleet, name: str) -> None:
    """Fifty of them, none as before; the state has no room for their names."""
    for host in "abc":
        counts = [
            ", ".join(f"{json.dumps(f'{name}{n + k}')}: 90" for n in range(50)) for k in (0, 100)
        ]
        for file, text in zip(("before", "after"), counts, strict=True):
            (fleet.hosts / host / file).write_text(text)
        which = "$(if [ $now = 1 ]; then cat before; else cat after; fi)"
        otherwise(fleet, host, '{\\"$label\\": $count}', f"{{{which}}}")
    assert fleet.run("--waves=3") == 3
    assert "0% of the labels are as before" in fleet.why("a")


def test_a_second_try_that_changes_nothing_keeps_the_way_back(fleet: Fleet) -> None:
    """The first has left the new one there, unproven."""
    otherwise(
        fleet, "a", 'echo 2 >version; echo "$2" >sent\n', "echo 2 >version; touch half; sleep 9\n"
    )
    end_when(fleet.hosts / "a" / "half", signal.SIGKILL, fleet.words("--waves=1"))
    otherwise(
        fleet, "a", 'echo "installing 2 over 1"\n', "echo nothing changed: no space; exit 74\n"
    )
    assert fleet.run("--waves=1") == 3
    assert (fleet.states()[0], fleet.versions()[0]) == ("back", "1")
    assert fleet.why("a") == "nothing was changed"


def test_what_ends_after_the_connection_is_this_rollouts(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device says that it uses the old model, uses the new one later, and is taken back."""
    begin = '[ -e used ] || { touch used; (setsid sh -c "while [ ! -e go ]; do sleep 0.1; done;'
    begin += (
        ' echo gate@1 >model; touch done" >/dev/null 2>&1 &); exit 255; }\n echo gate@1 >model\n'
    )
    otherwise(fleet, "b", "echo gate@1 >model\n", begin)
    script = fleet.hosts / "b" / "instead"
    wrong = "fps=30; [ ! -e done ] || fps=9;"
    script.write_text(script.read_text().replace("fps=30;", wrong))
    late = Engine._late

    def later(engine: Engine, hosts: Sequence[str]) -> str:
        (fleet.hosts / "b" / "go").touch()
        while not (fleet.hosts / "b" / "done").exists():
            time.sleep(0.05)
        return late(engine, hosts)

    monkeypatch.setattr(Engine, "_late", later)
    assert fleet.run("--waves=1 1", what="model") == 3
    assert fleet.states("list-gate@1")[:2] == ["healthy", "back"]
    assert "9.0 frames a second, 30.0 before" in fleet.why("b", "list-gate@1")
    assert fleet.versions("model")[:2] == ["gate@1", "old"]


def test_a_broken_connection_skips_no_soak(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    """The device has the new version for less time than the others, if anything."""
    fleet.set("a", "breaks")
    assert fleet.run("--waves=1", "--soak=1") == 0
    assert "1 changed; gates in 1 s" in capsys.readouterr().out


def test_another_deploy_is_named(fleet: Fleet) -> None:
    """It was not the connection."""
    said = "Failed to start transient service unit: Unit edge-deploy.service was already loaded."
    run = 'while [ "$1" != python3 ]; do shift; done; exec "$@"'
    script = f'case $PWD in */b) echo "{said}" >&2; exit 1;; esac\n{run}'
    there(fleet.folder / "bin", "systemd-run", script)
    assert fleet.run("--waves=1 1") == 69
    assert fleet.why("b") == "another deploy is running; it does not have the new one"


def kind() -> str:
    """Return this machine's kind, as a package is named for it."""
    codename = platform.freedesktop_os_release()["VERSION_CODENAME"]
    return RELEASES.get(codename, codename)


def test_what_a_host_gets_is_chosen_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a newer package nor another file of its name takes part in a rollout."""
    made = [tmp_path / version for version in "23"]
    for folder in made:
        folder.mkdir()
    two, three = (package(folder, version=folder.name, arch=ARCH) for folder in made)
    dist = tmp_path / "dist"
    dist.mkdir()
    monkeypatch.setattr(remote, "DIST", dist)
    first = dist / f"edge-camera_2~{kind()}_{ARCH}.deb"
    shutil.copy(two, first)
    subject = PackageSubject("", tmp_path, 1, lambda host, text: None)
    host = Host("pi", (), ARCH, kind())
    checksum = remote.digest(first)
    assert subject.wanted(host).version == "2"
    shutil.copy(three, dist / f"edge-camera_3~{kind()}_{ARCH}.deb")
    first.write_bytes(three.read_bytes())
    sent: list[str] = []
    monkeypatch.setattr(remote, "send", lambda host, path, to: sent.append(remote.digest(path)))
    monkeypatch.setattr(remote, "install", lambda host, checksum, *_: sent.append(checksum))
    subject.apply(host)
    assert (subject.wanted(host).version, sent) == ("2", [checksum, checksum])
    assert subject.has(host, Facts(package=checksum))


def test_a_return_of_before_is_no_return_of_this_model(fleet: Fleet, tmp_path: Path) -> None:
    """The journal keeps what was taken back before this rollout."""
    subject = ModelSubject(str(fleet.folder / "card"), tmp_path, 0, Limits(), print)
    before = Facts(model="old", went_back="12:00: model x@1 again: slow")
    again = Facts(model="old", went_back="12:30: model x@1 again: slow")
    assert not subject.refused(Host("pi", ()), before, before)
    assert subject.refused(Host("pi", ()), again, before)


@pytest.mark.parametrize("what", ["package", "model"])
def test_a_name_that_is_too_long_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    """As one that is not there."""
    (tmp_path / "list.txt").write_text("pi\n")
    of = "deb" if what == "package" else "model"
    words = [what, f"--hosts={tmp_path}/list.txt", f"--{of}={'x' * 300}"]
    assert rollout.main([*words, f"--states={tmp_path}"]) == 66
    (line,) = capsys.readouterr().err.splitlines()
    assert "no such" in line


def test_a_closed_output_stops_nothing(fleet: Fleet) -> None:
    """The state and the report have all of it."""
    closed, output = os.pipe()
    os.close(closed)
    command = [sys.executable, "-c", START, *fleet.words("--waves=3")]
    done = subprocess.run(
        command, cwd=ROOT, stdout=output, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(output)
    assert (done.returncode, done.stderr) == (0, "")
    assert fleet.states() == ["healthy"] * 3


def test_a_change_writes_one_line_of_the_state(fleet: Fleet) -> None:
    """A host on each line, as JSON."""
    assert fleet.run("--waves=3") == 0
    first, *hosts, last = (fleet.folder / "states" / "list-2.json").read_text().splitlines()
    assert (first.endswith('"hosts": ['), last) == (True, "]}")
    assert [json.loads(host.rstrip(","))["host"] for host in hosts] == ["a", "b", "c"]


def test_what_others_have_installed_is_never_taken_back(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not after an interruption and a connection that broke, either."""
    (fleet.hosts / "b" / "version").write_text("2")
    (fleet.hosts / "b" / "sent").write_text(remote.digest(fleet.deb))

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "_soak", interrupted)
        assert fleet.run("--waves=2") == 130
    fleet.set("b", "away")
    assert fleet.run("--waves=2") == 3
    fleet.set("b")
    fleet.set("a", "slow")
    assert fleet.run("--waves=2") == 3
    assert fleet.states()[:2] == ["back", "healthy"]
    assert fleet.versions()[:2] == ["1", "2"]


def test_a_second_try_forgets_no_change_that_goes_on(fleet: Fleet) -> None:
    """The first has lost its connection while the model was to be used; the second is refused."""
    uses = "[ -e used ] || { touch used; exit 255; }\n"
    uses += """ echo '{"error": "a model is being proven"}'; exit 74\n"""
    otherwise(fleet, "b", "echo gate@1 >model\n", uses)
    assert fleet.run("--waves=1 1", what="model") == 3
    assert fleet.states("list-gate@1")[:2] == ["healthy", "back"]


def test_a_package_that_is_not_there_after_a_broken_connection_was_not_begun(fleet: Fleet) -> None:
    """Its unit has ended by then: who installs it later is somebody else."""
    otherwise(fleet, "b", 'echo "installing 2 over 1"\n', "exit 255\n")
    assert fleet.run("--waves=1 1") == 69
    assert fleet.why("b") == "the connection broke; it does not have the new one"
    fleet.set("b")
    (fleet.hosts / "b" / "version").write_text("2")
    (fleet.hosts / "b" / "sent").write_text(remote.digest(fleet.deb))
    (fleet.hosts / "c" / "slow").touch()
    assert fleet.run("--waves=1 2", "--back=all") == 3
    assert fleet.versions()[:3] == ["1", "2", "1"]


def test_an_earlier_versions_state_is_continued(fleet: Fleet) -> None:
    """Its healthy devices have passed: they are not judged by other thresholds."""
    for host in "abc":
        fleet.set(host, "unlike")
    assert fleet.run("--waves=3", "--gates=agreement=0") == 0
    path = fleet.folder / "states" / "list-2.json"
    content = json.loads(path.read_text())
    for entry in content["hosts"]:
        del entry["passed"]
    path.write_text(json.dumps(content))
    assert fleet.run("--waves=3") == 0


def test_a_closed_error_output_keeps_the_status(tmp_path: Path) -> None:
    """Never 1, which other programs use."""
    closed, output = os.pipe()
    os.close(closed)
    words = ["package", f"--hosts={tmp_path / 'none'}"]
    done = subprocess.run(
        [sys.executable, "-c", START, *words], cwd=ROOT, stderr=output, check=False
    )
    os.close(output)
    assert done.returncode == 66
