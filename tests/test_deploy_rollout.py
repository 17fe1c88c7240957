"""Whole rollouts to hosts of shell scripts: stops, the way back, interruptions, resuming.

Three booted Debians are in tests/system/test_rollout.py.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from deploy import remote
from tests.conftest import ROOT
from tests.script_hosts import Fleet, signed
from tests.test_deploy import ARCH, package


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """Five hosts with version 1."""
    monkeypatch.setattr(remote, "FOLDER", ".")
    return Fleet(tmp_path)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return what was printed."""
    return capsys.readouterr().out.splitlines()


def test_three_waves(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    """One line for each device and wave, and a report; once more, nothing is touched."""
    assert fleet.run() == 0
    assert fleet.versions() == ["2"] * 5
    assert fleet.states() == ["healthy"] * 5
    output = lines(capsys)
    assert output[0] == "deploy: wave 1 of 3: 1 host"
    figures = "frames/s 30.0 -> 30.0, p99 ms 9.5 -> 9.5, labels 100% alike"
    assert output[1] == f"deploy: a: healthy: {figures}"
    assert output[2:4] == [
        "deploy: wave 1 of 3: 1 of 1 healthy",
        "deploy: wave 2 of 3: 2 hosts",
    ]
    assert output[-1] == f"deploy: report: {fleet.folder}/states/list-2.md"
    assert sum("healthy: frames" in line for line in output) == 5
    assert fleet.asked() == "abcde"
    assert fleet.run() == 0
    assert fleet.asked() == ""


@pytest.mark.parametrize(
    ("mark", "words"),
    [("slow", "c: 9.0 frames a second, 30.0 before; limit 24.0"), ("sick", "went back")],
)
def test_a_wave_that_fails_goes_back_whole(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], mark: str, words: str
) -> None:
    """The wave before stays, the next is not touched; after the fix the same command goes on."""
    fleet.set("c", mark)
    assert fleet.run() == 3
    assert fleet.versions() == ["2", "1", "1", "1", "1"]
    assert fleet.asked() == "abc"
    assert fleet.states()[0] == "healthy"
    assert fleet.states()[1:3] == ["back", "back" if mark == "slow" else "failed"]
    assert fleet.states()[3:] == ["waiting", "waiting"]
    assert "its wave was stopped: 1 of 2 failed, first c" in fleet.why("b")
    assert words in "\n".join(lines(capsys))
    assert "Stopped: 1 of 2 failed" in (fleet.folder / "states" / "list-2.md").read_text()
    fleet.set("c")
    assert fleet.run() == 0
    assert fleet.versions() == ["2"] * 5
    assert fleet.asked() == "bcde", "a is healthy and is not touched"


def test_no_more_of_a_wave_are_changed_once_too_many_have_failed(fleet: Fleet) -> None:
    """The rest of it need not go back."""
    fleet.set("b", "sick")
    assert fleet.run("--waves=1 4", "--parallel=1") == 3
    assert fleet.asked() == "ab"


def test_some_may_fail(fleet: Fleet) -> None:
    """They go back alone, the rollout goes on, and its status says that it is not whole."""
    fleet.set("c", "slow")
    assert fleet.run("--failures=50%") == 3
    assert fleet.versions() == ["2", "2", "1", "2", "2"]
    assert fleet.states() == ["healthy", "healthy", "back", "healthy", "healthy"]


def test_earlier_waves_go_back_if_asked(fleet: Fleet) -> None:
    """BACK=all."""
    fleet.set("e", "slow")
    assert fleet.run("--back=all") == 3
    assert fleet.versions() == ["1"] * 5
    assert fleet.states() == ["back"] * 5


def test_earlier_waves_go_back_also_for_one_not_reached_before(fleet: Fleet) -> None:
    """BACK=all, and the device that was away is slow once it is there."""
    fleet.set("b", "away")
    assert fleet.run("--back=all") == 69
    fleet.set("b", "slow")
    assert fleet.run("--back=all") == 3
    assert fleet.versions() == ["1"] * 5


def test_one_out_of_reach_is_tried_once_more_at_the_end(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is counted and reported, and stops nothing."""
    fleet.set("b", "away")
    assert fleet.run() == 69
    assert fleet.versions() == ["2", "1", "2", "2", "2"]
    assert fleet.states()[1] == "unreachable"
    output = lines(capsys)
    assert "deploy: once more, not reached before: 1 host" in output
    away = [line for line in output if line.startswith("deploy: b: unreachable: cannot be reached")]
    assert len(away) == 2
    assert all("; try `" in line for line in away)
    fleet.set("b")
    fleet.asked()
    assert fleet.run() == 0
    assert fleet.asked() == "b"


def test_a_canary_out_of_reach_stops_it(fleet: Fleet) -> None:
    """Nothing would have been proven."""
    fleet.set("a", "away")
    assert fleet.run() == 3
    assert fleet.asked() == "a"
    assert fleet.why("a").startswith("the first wave needs it: cannot be reached")


def test_what_cannot_go_back_is_named(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    """With a status of its own."""
    fleet.set("a", "slow", "cannot")
    assert fleet.run() == 70
    assert fleet.states()[0] == "stuck"
    (line,) = [one for one in lines(capsys) if "NOT taken back" in one]
    assert "9.0 frames a second" in line
    assert "could not go back: a: not healthy" in line


def test_a_broken_connection_is_no_fault_of_the_new_version(fleet: Fleet) -> None:
    """The device goes on alone: it has the new version, and is judged by it."""
    fleet.set("b", "breaks")
    assert fleet.run() == 0
    assert fleet.states() == ["healthy"] * 5


def test_labels_of_a_wave_that_are_others_stop_it(fleet: Fleet) -> None:
    """Each device is well by itself; the median of the wave is not."""
    fleet.set("b", "unlike")
    assert fleet.run("--waves=1 3 1") == 0, "one of three is a scene that has changed"
    fleet.folder.joinpath("states", "list-2.json").unlink()
    for name in "abcde":
        (fleet.hosts / name / "version").write_text("1")
    fleet.set("c", "unlike")
    assert fleet.run("--waves=1 3 1") == 3
    assert fleet.versions() == ["2", "1", "1", "1", "1"]
    assert "0% of the labels are as before, the wave's median" in fleet.why("d")


@pytest.mark.parametrize("quiet", ["cd", "cde"])
def test_one_with_other_labels_fails_alone_in_a_wave_that_says_too_little(
    fleet: Fleet, quiet: str
) -> None:
    """Its wave is not judged by it: as many as may fail go back, and the others stay."""
    fleet.set("b", "unlike")
    for name in quiet:
        fleet.set(name, "quiet")
    assert fleet.run("--waves=1 4", "--failures=1") == 3
    assert fleet.versions() == ["2", "1", "2", "2", "2"]
    assert fleet.states() == ["healthy", "back", "healthy", "healthy", "healthy"]
    assert fleet.why("b") == "0% of the labels are as before; limit 50%"
    for name in "abcde":
        (fleet.hosts / name / "version").write_text("1")
    (fleet.folder / "states" / "list-2.json").unlink()
    assert fleet.run("--waves=1 4") == 3, "FAILURES=0: it stops its wave"
    assert fleet.versions() == ["2", "1", "1", "1", "1"]


def test_hosts_in_no_wave_are_left(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    """WAVES=1 ends after the canary; with more waves the same command goes on."""
    assert fleet.run("--waves=1") == 0
    assert fleet.asked() == "a"
    assert "deploy: in no wave, not touched: b c d e" in lines(capsys)
    assert fleet.run() == 0
    assert fleet.asked() == "bcde"


def test_another_package_of_this_version_is_refused(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    """Some devices have the first one; no host is reached."""
    assert fleet.run("--waves=1") == 0
    (fleet.folder / "later").mkdir()
    fleet.deb = package(fleet.folder / "later", version="2", arch=ARCH)
    (fleet.folder / "later" / "tree" / "more").write_text("changed")
    subprocess.run(["dpkg-deb", "-b", fleet.folder / "later" / "tree", fleet.deb], check=True)
    fleet.asked()
    assert fleet.run() == 73
    assert fleet.asked() == ""
    assert "the state of another rollout" in capsys.readouterr().err


def begun(fleet: Fleet, words: Sequence[str]) -> subprocess.Popen[str]:
    """Return a rollout in a process of its own, once host b installs."""
    code = (
        "import sys; from deploy import remote, rollout; remote.FOLDER = '.';"
        "sys.exit(rollout.main(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "wave 2" in line:
            break
    return process


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_host_is_looked_at_first(fleet: Fleet, how: signal.Signals) -> None:
    """Its state says that it was being changed; it has the new version by then, and keeps it."""
    fleet.set("b", "waits")
    with begun(fleet, fleet.words("--parallel=1")) as process:
        while not (fleet.hosts / "b" / "begun").exists():
            assert process.poll() is None
        process.send_signal(how)
        _, error = process.communicate(timeout=50)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert error.strip().splitlines() == [
            "deploy: interrupted; what has begun on a device ends there; the same command continues"
        ]
    assert fleet.states() == ["healthy", "changing", "waiting", "waiting", "waiting"]
    fleet.set("b")
    (fleet.hosts / "b" / "version").write_text("2")  # the device has gone on alone
    digest = json.loads((fleet.folder / "states" / "list-2.json").read_text())["identity"]["deb"]
    (fleet.hosts / "b" / "sent").write_text(digest)
    fleet.asked()
    assert fleet.run() == 0
    asked = (fleet.hosts / "b" / "asked").read_text()
    assert "systemd-run" not in asked, "it is not installed twice"
    assert fleet.asked() == "bcde"


def test_a_model_is_tried_as_a_shadow_before_it_is_used(fleet: Fleet) -> None:
    """One that agrees too little is never used, and the wave ends; then all have it."""
    (fleet.hosts / "a" / "agrees").write_text("0.41")
    assert fleet.run("--shadow=5", what="model") == 3
    assert fleet.versions("model") == ["old"] * 5
    assert "agrees with the model at work on 41% of 200" in fleet.why("a", "list-gate@1")
    assert "model use" not in (fleet.hosts / "a" / "asked").read_text()
    (fleet.hosts / "a" / "agrees").write_text("0.93")
    assert fleet.run("--shadow=5", what="model") == 0
    assert fleet.versions("model") == ["gate@1"] * 5
    report = json.loads((fleet.folder / "states" / "list-gate@1.report.json").read_text())
    entry: dict[str, Any] = report["hosts"][0]
    assert (entry["after"]["agreement"], entry["after"]["model"]) == (0.93, "gate@1")


def test_a_bundle_in_one_file_goes_as_it_is(fleet: Fleet) -> None:
    """Its name is its manifest's, whatever the file's; another file of this name is refused."""
    given = signed(fleet.folder / "renamed.edgemodel")
    assert fleet.run("--waves=1", what=str(given)) == 0
    assert (fleet.hosts / "a" / "bundle.edgemodel").read_bytes() == given.read_bytes()
    assert (fleet.hosts / "a" / "model").read_text() == "gate@1\n"
    assert fleet.states("list-gate@1") == ["healthy"]
    signed(given, serial=2)
    fleet.asked()
    assert fleet.run(what=str(given)) == 73
    assert fleet.asked() == ""


def test_a_folder_and_its_bundle_have_one_state(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are the same model, in different bytes: the second is refused, by one line."""
    assert fleet.run("--waves=1", what="model") == 0
    capsys.readouterr()
    assert fleet.run(what=str(signed(fleet.folder / "gate-1.edgemodel"))) == 73
    (line,) = capsys.readouterr().err.splitlines()
    assert "list-gate@1.json: the state of another rollout: got model gate@1 with another" in line


def test_the_state_of_an_earlier_version_is_continued(fleet: Fleet) -> None:
    """It also has the name that the first device gave the model."""
    assert fleet.run("--waves=1", what="model") == 0
    path = fleet.folder / "states" / "list-gate@1.json"
    content = json.loads(path.read_text())
    content["identity"]["name"] = "gate@1"
    path.write_text(json.dumps(content))
    fleet.asked()
    assert fleet.run(what="model") == 0
    assert fleet.asked() == "bcde"
