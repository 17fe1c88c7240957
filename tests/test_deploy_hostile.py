"""Rollouts with a device that answers anything: it fails alone, by one line; all others go on."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy import gates, remote, rollout
from deploy.facts import Facts
from deploy.gates import Limits, Verdict, Wanted
from deploy.host import RELEASES, Host
from deploy.model_subject import ModelSubject
from tests.script_hosts import Fleet
from tests.test_deploy import ARCH, there

FAIL = "--failures=50%"
"""Of the wave of two with host b: what comes after it goes on."""
ALONE = ["healthy", "failed", "healthy", "healthy", "healthy"]
OTHER = """
case $1$2 in
modeladd) echo "$4" >digest; echo '{"name": "NAME"}' ;;
facts*) echo "{\\"state\\": \\"active\\", \\"model\\": \\"other@1\\",\
 \\"bundle\\": \\"$(cat digest 2>/dev/null)\\"}" ;;
*) echo '{"removed": true}' ;;
esac
"""
"""A device that adds a model as NAME, and says that it uses another one."""


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """Five hosts with version 1."""
    monkeypatch.setattr(remote, "FOLDER", ".")
    return Fleet(tmp_path)


@pytest.mark.parametrize("name", ["other@9", "gate@1; reboot", "../gate@1", "", "x" * 5000])
def test_another_models_name_fails_its_device_alone(fleet: Fleet, name: str) -> None:
    """The name is known before: what was added there is removed, and only that name is used."""
    fleet.answer("b", OTHER.replace("NAME", name))
    assert fleet.run(FAIL, what="model") == 3
    assert fleet.states("list-gate@1") == ALONE
    why = "the model was added under another name: expected gate@1"
    assert fleet.why("b", "list-gate@1").startswith(f"{why}, got {name[:50]}" if name else why)
    asked = (fleet.hosts / "b" / "asked").read_text()
    assert "model back gate@1" in asked
    assert not name or name not in asked


def test_a_device_that_uses_it_by_another_name_does_not_have_it(fleet: Fleet) -> None:
    """It is judged by the name that it says, and goes back alone."""
    assert fleet.run("--waves=1", what="model") == 0
    content = json.loads((fleet.folder / "states" / "list-gate@1.json").read_text())
    (fleet.hosts / "b" / "digest").write_text(content["identity"]["bundle"])
    fleet.answer("b", OTHER.replace("NAME", "gate@1"))
    assert fleet.run(FAIL, what="model") == 3
    assert fleet.states("list-gate@1") == ["healthy", "back", *["healthy"] * 3]
    assert fleet.why("b", "list-gate@1").startswith("model other@1 is in use, not gate@1")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("yes", "too much output: expected at most 1000000 bytes"),
        ("yes >&2", "too much output"),
        ("exec cat /dev/zero", "too much output"),
        ("head -c 900000 /dev/urandom", "no answer: got "),
        ("head -c 200000 /dev/zero >&2", "no answer: got "),
        ("printf '[%.0s' $(seq 9000)", "no answer: got ["),
        ("printf '1%.0s' $(seq 9000)", "no answer: got 1"),
        (r"printf '\033[2J\n'", r"no answer: got \x1b[2J"),
        ("echo '[]'", "no answer: got []"),
        ("""printf '{"error": "a\\\\nb"}\n'""", r"a\nb"),
    ],
)
def test_any_answer_fails_its_device_alone(fleet: Fleet, script: str, words: str) -> None:
    """Before anything was changed there: nothing is taken back."""
    fleet.answer("b", script)
    assert fleet.run(FAIL) == 3
    assert fleet.states() == ALONE
    why = fleet.why("b")
    assert why.startswith(words)
    assert why.isprintable()
    assert len(why) < 2000
    assert "systemd-run" not in (fleet.hosts / "b" / "asked").read_text()


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("yes", "too much output"),
        ("yes >&2", "too much output"),
        ("exec cat /dev/urandom", "too much output"),
        ("head -c 200000 /dev/zero >&2; exit 74", "the deploy did not start: got "),
    ],
)
def test_an_installation_may_print_anything(fleet: Fleet, output: str, words: str) -> None:
    """Nor does a full stderr block it; a device that may have been changed is taken back."""
    fleet.answer("b", f"{PRINTS}\n{output}")
    assert fleet.run(FAIL) == 3
    assert fleet.versions() == ["2", "1", "2", "2", "2"]
    assert fleet.why("b").startswith(words)
    assert (fleet.hosts / "b" / "went").exists() == ("too much" in words)


PRINTS = """
case $1 in
facts) echo '{}'; exit ;;
back) touch went; echo "gone back: 1 runs again"; exit 3 ;;
esac
"""


def limited(monkeypatch: pytest.MonkeyPatch, name: str, limit_s: float) -> None:
    """Give what a host is asked for its facts so much time."""
    was = Host.run

    def run(self: Host, script: str, given: Path, longest_s: float) -> Any:
        short = self.name == name and " facts " in script
        return was(self, script, given, limit_s if short else longest_s)

    monkeypatch.setattr(Host, "run", run)


def test_a_step_without_an_end_is_a_lost_connection(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte now and then: it cannot be reached, and is tried once more at the end."""
    fleet.answer("b", "while :; do printf x; sleep 0.05; done")
    limited(monkeypatch, "b", 1.0)
    assert fleet.run() == 69
    assert fleet.states() == ["healthy", "unreachable", "healthy", "healthy", "healthy"]
    assert fleet.why("b") == "no end after 1 s; what has begun there may go on"


def test_an_installation_without_an_end_is_looked_at(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the new version by then: it is judged by that, and is healthy."""
    (fleet.folder / "list.txt").write_text("b\n")
    monkeypatch.setattr(remote, "INSTALL_S", 8.0)
    fleet.answer("b", HANGS)
    assert fleet.run("--timeout=1") == 0
    assert fleet.states() == ["healthy"]
    history = json.loads((fleet.folder / "states" / "list-2.json").read_text())["hosts"][0]
    assert "no end after 10 s" in "".join(one["why"] for one in history["history"])


HANGS = """
case $1 in
facts) echo "{\\"state\\": \\"active\\", \\"version\\": \\"$(cat version)\\",\
 \\"package\\": \\"$(cat sent 2>/dev/null)\\"}" ;;
*) echo 2 >version; echo "$2" >sent; echo installing; exec sleep 1000 ;;
esac
"""


@pytest.mark.parametrize("words", ["**", "../..", "x" * 99, "arm64;reboot", "\xff\x1b"])
def test_an_architecture_that_is_none_fails_its_device_alone(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """It is a part of a pattern of files."""
    there(fleet.folder / "bin", "dpkg", '[ -e named ] && cat named || exec /usr/bin/dpkg "$@"')
    (fleet.hosts / "b" / "named").write_bytes(f"{words}\n".encode("latin-1"))
    codename = platform.freedesktop_os_release()["VERSION_CODENAME"]
    release = RELEASES.get(codename, codename)
    shutil.copy(fleet.deb, fleet.folder / f"edge-camera_2~{release}_{ARCH}.deb")
    monkeypatch.setattr(remote, "DIST", fleet.folder)
    given = [word for word in fleet.words(FAIL) if not word.startswith("--deb=")]
    assert rollout.main(given) == 3
    assert fleet.states() == ALONE
    assert fleet.why("b").startswith("not a Debian")


def raising(error: Exception) -> Callable[..., Verdict]:
    """Return a judge that raises for a slow device."""

    def judge(before: Facts, after: Facts, wanted: Wanted, limits: Limits) -> Verdict:
        if after.fps == 9:
            raise error
        return Verdict()

    return judge


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a\x1b[2Jb"),
        OverflowError("x" * 9000),
        RecursionError(),
        UnicodeError("u"),
        KeyError(),
    ],
)
def test_an_error_that_nothing_foresees_is_of_its_device_alone(
    fleet: Fleet,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
) -> None:
    """One line with its type and place, its traceback in the report; the device goes back."""
    fleet.set("b", "slow")
    monkeypatch.setattr(gates, "judge", raising(error))
    assert fleet.run(FAIL) == 3
    assert fleet.versions() == ["2", "1", "2", "2", "2"]
    assert fleet.states() == ["healthy", "back", "healthy", "healthy", "healthy"]
    assert fleet.why("b").startswith(f"internal error: {type(error).__name__}: ")
    assert fleet.why("b").isprintable()
    assert "(test_deploy_hostile.py:" in fleet.why("b")
    report = json.loads((fleet.folder / "states" / "list-2.report.json").read_text())
    assert "b: Traceback (most recent call last):" in report["log"]
    assert capsys.readouterr().err == ""


def test_an_error_on_the_way_back_is_named(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device may still have it: status 70."""

    def back(self: ModelSubject, host: Host) -> None:
        raise OverflowError("too large")

    (fleet.hosts / "a" / "agrees").write_text("0.41")
    monkeypatch.setattr(ModelSubject, "back", back)
    fleet.answer("a", OTHER.replace("NAME", "gate@1"))
    assert fleet.run(what="model") == 70
    assert fleet.states("list-gate@1")[0] == "stuck"
    assert "internal error: OverflowError: too large" in fleet.why("a", "list-gate@1")


def test_a_device_that_cannot_be_looked_at_keeps_the_way_back(fleet: Fleet) -> None:
    """It was being changed when a run ended: no answer says that it has not the new version."""
    assert fleet.run("--waves=1") == 0
    path = fleet.folder / "states" / "list-2.json"
    content = json.loads(path.read_text())
    content["hosts"][0] |= {"state": "changing", "mine": True}
    path.write_text(json.dumps(content))
    there(fleet.folder / "bin", "id", "[ -e user ] && echo 1000 || echo 0")
    (fleet.hosts / "a" / "user").touch()
    assert fleet.run("--waves=1") == 70
    assert fleet.states() == ["stuck"]
    (fleet.hosts / "a" / "user").unlink()
    assert fleet.run("--waves=1") == 0
    assert fleet.states() == ["healthy"]


@pytest.mark.parametrize(
    ("mark", "status", "state", "model"),
    [("cannot", 70, "stuck", "gate@1"), ("cannot_once", 3, "back", "old")],
)
def test_a_model_that_could_not_go_back_at_once_is_tried_again(
    fleet: Fleet, mark: str, status: int, state: str, model: str
) -> None:
    """The step said that nothing was changed, and the device uses the new one."""
    fleet.set("b", "sick", mark)
    assert fleet.run(FAIL, what="model") == status
    assert fleet.states("list-gate@1") == ["healthy", state, *["healthy"] * 3]
    assert fleet.versions("model") == ["gate@1", model, *["gate@1"] * 3]
    assert "no answer in time; could not go back: " in fleet.why("b", "list-gate@1")


def test_a_device_that_does_not_say_what_it_has_keeps_the_way_back(fleet: Fleet) -> None:
    """The connection broke when the model was to be used: it may be in use."""
    fleet.set("b", "breaks")
    assert fleet.run(FAIL, what="model") == 3
    assert fleet.states("list-gate@1") == ["healthy", "back", *["healthy"] * 3]
    assert fleet.versions("model") == ["gate@1", "old", *["gate@1"] * 3]
    assert "model back gate@1" in (fleet.hosts / "b" / "asked").read_text()
    assert "does not say" in fleet.why("b", "list-gate@1")
