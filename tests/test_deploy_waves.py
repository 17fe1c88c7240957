"""Rollouts without a device: waves, gates, the state's file, the report, what is refused."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy import gates, ledger, report, rollout, waves
from deploy.errors import DeployError
from deploy.facts import Facts, plain, typed
from deploy.gates import Limits, Wanted
from deploy.ledger import Ledger
from deploy.on_device.asking import AskError, Daemon
from tests.test_deploy import package

WELL = Facts(
    state="active",
    version="2",
    online=True,
    camera="online",
    restarts=0,
    fps=30.0,
    p99_ms=20.0,
    invalid=0.0,
    drift="",
    labels={"cat": 60, "dog": 40},
)


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        ("", 65, "no host in it"),
        ("# all of them later\n\n", 65, "no host in it"),
        ("pi1\npi2 # b\npi1\n", 65, "line 3: pi1 is in line 1 already"),
        ("-oProxyCommand=false\n", 65, "line 1: not a host: expected one host or user@host"),
        ("user@-oProxyCommand=false\n", 65, "line 1: not a host"),
        ("pi1 pi2\n", 65, "line 1: not a host: expected one host or user@host, got pi1 pi2"),
        ("pi1;reboot\n", 65, "line 1: not a host"),
        ("p\x1b[2Ji\n", 65, r"line 1: not a host: expected one host or user@host, got p\x1b[2Ji"),
        ("a" * 256, 65, "line 1: too long for a host: expected at most 255 characters, got 256"),
        ("\n".join(f"pi{n}" for n in range(2001)), 65, "too many hosts: expected at most 2000"),
        ("pi\n".encode("utf-16").decode("latin-1"), 65, "save it as UTF-8"),
    ],
)
def test_a_file_of_hosts_that_is_none_is_one_line(
    tmp_path: Path, text: str, status: int, words: str
) -> None:
    """With the line in which it is."""
    path = tmp_path / "hosts"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DeployError) as error:
        waves.read_hosts(path)
    assert error.value.status == status
    assert words in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_hosts_are_what_ssh_takes(tmp_path: Path) -> None:
    """Names of its configuration, users, addresses, a comment behind them."""
    hosts = ["pi1", "user@pi-2.local", "root@192.168.1.7", "user@[fe80::1%eth0]", "fe80::2"]
    path = tmp_path / "hosts"
    path.write_text("# the porch\n" + "".join(f"  {host}  # ours\n" for host in hosts))
    assert waves.read_hosts(path) == hosts


@pytest.mark.parametrize(
    ("text", "hosts", "counts"),
    [
        ("1 5% 100%", 3, [[0], [1], [2]]),
        ("1 5% 100%", 100, [[0], [*range(1, 6)], [*range(6, 100)]]),
        ("1 5% 100%", 1, [[0]]),
        ("5% 1", 21, [[0, 1], [2]]),
        ("2", 5, [[0, 1]]),
        ("100%", 2, [[0, 1]]),
    ],
)
def test_waves_are_sizes_of_all_hosts(text: str, hosts: int, counts: list[list[int]]) -> None:
    """One, then 5 % rounded up, then the rest; what no wave has is left."""
    names = [str(number) for number in range(hosts)]
    plan, left = waves.plan(names, waves.sizes(text, hosts))
    assert plan == [[str(n) for n in wave] for wave in counts]
    assert left == names[sum(map(len, counts)) :]


@given(st.integers(1, 300), st.lists(st.integers(1, 100), min_size=1, max_size=6))
def test_no_host_is_in_two_waves_or_lost(hosts: int, shares: list[int]) -> None:
    """Whatever the sizes: the waves and what is left are all hosts in their order."""
    names = [str(number) for number in range(hosts)]
    plan, left = waves.plan(names, waves.sizes(" ".join(f"{s}%" for s in shares), hosts))
    assert [*(host for wave in plan for host in wave), *left] == names
    assert all(plan)


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        (["--waves="], 64, "WAVES has no sizes"),
        (["--waves=1 0"], 64, "WAVES cannot be used"),
        (["--waves=101%"], 64, "WAVES cannot be used"),
        (["--waves=1 -1"], 64, "got -1"),
        (["--waves=1 all\n"], 64, "got all"),
        (["--parallel=0"], 64, "PARALLEL cannot be used: expected 1 to 64, got 0"),
        (["--parallel=1.5"], 64, "PARALLEL cannot be used: expected a whole number, got 1.5"),
        (["--parallel="], 64, "PARALLEL cannot be used: expected 1 to 64, got nothing"),
        (["--soak=nan"], 64, "SOAK cannot be used"),
        (["--look=0"], 64, "LOOK cannot be used"),
        (["--timeout=soon"], 64, "TIMEOUT cannot be used"),
        (["--failures=-1"], 64, "FAILURES cannot be used"),
        (["--failures=200%"], 64, "FAILURES cannot be used"),
        (["--gates=speed=1"], 64, "GATES cannot be used: expected NAME=NUMBER"),
        (["--gates=fps=-1"], 64, "GATES cannot be used"),
        (["--gates=fps=inf"], 64, "GATES cannot be used"),
        (["--back=none"], 64, "BACK cannot be used: expected wave or all, got none"),
        (["--host=pi"], 64, "HOST and HOSTS exclude each other"),
        (["--name=../x"], 64, "NAME cannot be used"),
        (["--hosts="], 64, "no HOSTS given"),
        (["--hosts=/nowhere"], 66, "no such file of hosts"),
        (["--hosts=/dev/null"], 65, "is a device"),
        (["--ssh=no-such-ssh"], 64, "SSH is not an installed command"),
        (["--deb=/nowhere"], 66, "no such package"),
        (["--deb=/etc/hostname"], 65, "not a package of edge-camera"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    given: list[str],
    status: int,
    words: str,
) -> None:
    """Before any host is reached, and nothing is written."""
    (tmp_path / "hosts").write_text("pi\n")
    deb, states = package(tmp_path), tmp_path / "states"
    all_ = ["package", f"--hosts={tmp_path}/hosts", f"--deb={deb}", f"--states={states}", *given]
    assert rollout.main(all_) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("deploy: ")
    assert words in line
    assert not states.exists()


def test_what_is_no_bundle_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing one, a folder without a card, a file of another kind, a folder in a folder."""
    hosts = tmp_path / "hosts"
    hosts.write_text("pi\n")
    empty, deep, bare = tmp_path / "empty", tmp_path / "deep", tmp_path / "bare"
    for folder in (empty, deep, bare):
        folder.mkdir()
    (deep / "model.toml").write_text('name = "gate"\n')
    (deep / "more").mkdir()
    (bare / "model.toml").write_text("name = 1\n")
    cases = {
        "": (64, "no MODEL given"),
        "/nowhere": (66, "no such bundle"),
        "/etc/hostname": (65, "not a model's bundle"),
        str(empty): (65, "not a model's bundle"),
        str(deep): (65, "not a plain file of a model"),
        str(bare): (65, "expected a name"),
    }
    for model, (status, words) in cases.items():
        states = f"--states={tmp_path}/states"
        assert rollout.main(["model", f"--model={model}", f"--hosts={hosts}", states]) == status
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, ""),
        ({"fps": 24.1, "p99_ms": 39.0}, ""),
        ({"state": "activating"}, "the service is activating, not READY"),
        ({"version": "1"}, "version 1 runs, not 2"),
        ({"online": False}, "offline at the broker; it was online before"),
        ({"camera": "recovering"}, "its camera is recovering; it was online before"),
        ({"restarts": 1}, "restarted by itself 1 times"),
        ({"fps": 23.9}, "23.9 frames a second, 30.0 before; limit 24.0"),
        ({"p99_ms": 40.1}, "p99 40.1 ms, 20.0 before; limit 40.0"),
        ({"invalid": 0.1}, "10% of the frames have no scores; limit 2%"),
        ({"drift": "darker"}, "drifts: darker"),
        ({"faults": ("camera",)}, "edge doctor: camera at fault; not so before"),
        ({"fps": float("nan")}, "nan frames a second"),
        ({"fps": None, "p99_ms": None, "online": None, "camera": None}, ""),
    ],
)
def test_a_gate_says_what_it_was_before_and_is_now(changed: dict[str, Any], words: str) -> None:
    """With its limit; a figure that the device does not say is not held against it."""
    verdict = gates.judge(WELL, replace(WELL, **changed), Wanted(version="2"), Limits())
    assert ("; ".join(verdict.wrong) == "") == (words == "")
    assert words in "; ".join(verdict.wrong)
    assert verdict.unknown == (("fps", "p99_ms") if "online" in changed and words == "" else ())


def test_what_was_wrong_before_is_no_fault_of_the_new_one() -> None:
    """Offline, without a camera, drifting, at fault: so it was, and so it is."""
    ill = replace(WELL, online=False, camera="failed", drift="dark", faults=("camera",), fps=0.0)
    assert gates.judge(ill, ill, Wanted(version="2"), Limits()).wrong == ()


def test_a_models_restarts_count_from_before() -> None:
    """Its service goes on, and so does systemd's count; a package begins a new one."""
    before, after = replace(WELL, restarts=2, model="a@1"), replace(WELL, restarts=2, model="b@1")
    assert gates.judge(before, after, Wanted(model="b@1"), Limits()).wrong == ()
    (line,) = gates.judge(
        before,
        replace(after, went_back="model a again: slow", model="a@1"),
        Wanted(model="b@1"),
        Limits(),
    ).wrong
    assert line == "model a@1 is in use, not b@1: model a again: slow"
    assert gates.judge(before, after, Wanted(version="2"), Limits()).wrong != ()


def test_labels_are_judged_by_the_wave() -> None:
    """One scene that has changed stops nothing; most of them do."""
    same, other = (WELL, WELL), (WELL, replace(WELL, labels={"neither": 100}))
    assert gates.shared(*same) == pytest.approx(1.0)
    assert gates.shared(*other) == 0.0
    assert gates.shared(WELL, replace(WELL, labels={"cat": 3})) is None
    assert gates.of_wave([same, same, other], Limits()) == ""
    assert "0% of the labels" in str(gates.of_wave([same, other, other], Limits()))
    assert gates.of_wave([other], Limits(agreement=0.0)) == ""
    assert gates.of_wave([], Limits()) is None
    assert gates.of_wave([other, other], Limits()) is None
    quiet = (replace(WELL, labels={}), WELL)
    assert gates.of_wave([other] * 3 + [quiet] * 4, Limits()) is None
    assert "0% of" in str(gates.of_wave([other] * 3 + [quiet] * 3, Limits()))
    assert gates.unlike(*quiet, Limits()) == gates.unlike(*same, Limits()) == ""


def test_a_shadow_is_judged_by_enough_frames() -> None:
    """Also one that agrees on three."""
    assert gates.disagrees(0.9, 300, Limits()) == ""
    assert "on 40% of 300" in gates.disagrees(0.4, 300, Limits())
    assert "too few" in gates.disagrees(1.0, 3, Limits())
    assert "too few" in gates.disagrees(None, 0, Limits())
    assert gates.disagrees(0.0, 300, Limits(agreement=0)) == ""


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*plain(WELL), "other"]), json_values))
def test_facts_are_typed_whatever_a_device_says(given: dict[str, Any]) -> None:
    """And its texts printable; a verdict and a row of the report can always be made."""
    facts = typed(given)
    texts = [value for value in plain(facts).values() if isinstance(value, str)]
    assert all(text.isprintable() and len(text) < 400 for text in [*texts, *facts.labels])
    lines = gates.judge(WELL, facts, Wanted(version="2"), Limits()).wrong
    assert all(line.isprintable() for line in lines)
    entry = ledger.Entry("pi", before=plain(WELL), after=plain(facts))
    assert report.line(entry).isprintable()


def entered(path: Path, what: str = "edge-camera 2", digest: str = "d") -> Ledger:
    """Return a new state of two waves of one host."""
    made = Ledger(path, what, {"deb": digest})
    made.read()
    made.enter([["a"], ["b"]])
    return made


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Entries, what was pinned, and the newest twenty outcomes."""
    first = entered(tmp_path / "x.json")
    first.pin("deb12_arm64", "e")
    for number in range(25):
        first.set("a", "failed", f"{number}", before=plain(WELL))
    again = entered(tmp_path / "x.json")
    entry = again.entries["a"]
    assert (entry.state, entry.why, entry.wave) == ("failed", "24", 1)
    assert typed(entry.before or {}) == WELL
    assert [one["why"] for one in entry.history] == [str(n) for n in range(5, 25)]
    assert again.identity == {"deb": "d", "deb12_arm64": "e"}
    with pytest.raises(DeployError, match="another file") as error:
        again.pin("deb12_arm64", "f")
    assert error.value.status == 73


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        '{"format": 2}',
        "[" * 5000,
        '{"format": 1, "what": "x", "identity": {}, "hosts": [{}]}',
        '{"format": 1, "what": "x", "identity": {}, "hosts": [{"host": "a", "state": "well"}]}',
        '{"format": 1, "what": "x", "identity": {}, "hosts": [{"host": "a", "before": 3}]}',
    ],
)
def test_what_is_no_state_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    """One line with a status of its own, and the file is not written to."""
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(DeployError, match="not the state of a rollout") as error:
        entered(path, "x")
    assert error.value.status == 73
    assert path.read_text() == text


@pytest.mark.parametrize(("what", "digest"), [("edge-camera 3", "d"), ("edge-camera 2", "e")])
def test_the_state_of_another_package_is_refused(tmp_path: Path, what: str, digest: str) -> None:
    """Another version, or the same one built once more."""
    path = tmp_path / "x.json"
    entered(path)
    before = path.read_bytes()
    with pytest.raises(DeployError, match="the state of another rollout") as error:
        entered(path, what, digest)
    assert error.value.status == 73
    assert path.read_bytes() == before


def test_a_full_disk_leaves_the_state_before(tmp_path: Path) -> None:
    """It is written beside itself: what cannot be written replaces nothing."""
    state = entered(tmp_path / "x.json")
    before = state.path.read_bytes()
    (tmp_path / ".x.json.part").mkdir()
    with pytest.raises(DeployError, match="cannot be written") as error:
        state.set("a", "healthy")
    assert (error.value.status, state.path.read_bytes()) == (73, before)


@pytest.mark.parametrize("mark", ["\U000e0001", "\U0001f600", "x", '"'])
def test_a_device_that_says_too_much_leaves_the_state_readable(tmp_path: Path, mark: str) -> None:
    """Ten thousand of them: each text as long as it may be, whatever a character takes."""
    texts = {one.name: mark * 300 for one in fields(Facts)}
    labels = {f"{mark * 290}{number}": 90 for number in range(50)}
    said = plain(typed(texts | {"labels": labels, "faults": [*labels]}))
    state = entered(tmp_path / "x.json")
    for _ in range(25):
        state.set("a", "failed", mark * 4000, mine=True, before=said, after=said)
    size = len(state.path.read_bytes())
    assert size < ledger.MAX_BYTES / 10_000 + 1000
    entry = entered(tmp_path / "x.json").entries["a"]
    assert (entry.state, entry.mine) == ("failed", True)
    assert entry.why.startswith(mark)
    assert typed(entry.before or {}).package


def test_a_device_that_says_little_keeps_all_of_it(tmp_path: Path) -> None:
    """Twenty outcomes, and fifty labels before and after."""
    labels = {f"a label of usual length {number}": 90 for number in range(50)}
    said = plain(replace(WELL, labels=labels))
    state = entered(tmp_path / "x.json")
    for _ in range(25):
        state.set("a", "healthy", "as before", before=said, after=said)
    entry = entered(tmp_path / "x.json").entries["a"]
    assert (typed(entry.after or {}).labels, len(entry.history)) == (labels, 20)


def hold(path: Path, ready: Any, end: Any) -> None:
    """Hold the lock until ``end``."""
    with ledger.alone(path):
        ready.set()
        end.wait()


def test_a_second_rollout_with_this_state_is_refused(tmp_path: Path) -> None:
    """As long as the first process lives."""
    context = multiprocessing.get_context("spawn")
    ready, end = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path / "x.json", ready, end))
    other.start()
    assert ready.wait(50)
    try:
        with (
            pytest.raises(DeployError, match="another rollout") as error,
            ledger.alone(tmp_path / "x.json"),
        ):
            pass
    finally:
        end.set()
        other.join()
    assert error.value.status == 75
    with ledger.alone(tmp_path / "x.json"):
        pass


def test_a_reason_cannot_break_the_report(tmp_path: Path) -> None:
    """Bars, links and HTML in what a device says stay text in their cell."""
    state = entered(tmp_path / "x.json")
    state.set("a", "failed", "a | b <script> [x](y) `c`", before=plain(WELL))
    page = report.write(state, "why | not", ["c"], Limits(), ["a: installing"]).read_text()
    (row,) = [line for line in page.splitlines() if "script" in line]
    assert r"a \| b \<script> \[x\](y) \`c\`" in row
    assert row.count(" | ") == page.splitlines()[-3].count(" | ")
    assert "In no wave, not touched: c" in page
    content = json.loads((tmp_path / "x.report.json").read_text())
    assert content["counts"] == {"failed": 1, "waiting": 1}
    assert content["log"] == ["a: installing"]


def test_a_socket_that_is_no_daemon_is_one_line(tmp_path: Path) -> None:
    """Nothing there; the error names the path."""
    with pytest.raises(AskError, match="No such file"), Daemon(str(tmp_path / "edge.sock")):
        pass


def test_a_number_beyond_all_reason_is_left_out() -> None:
    """A device says what it likes of itself: float() and the report get nothing that ends them."""
    said = {"fps": 10**400, "p99_ms": float("nan"), "labels": {"cat": 10**400, "dog": 3}}
    facts = typed(said)
    assert (facts.fps, facts.p99_ms, facts.labels) == (None, None, {"dog": 3})
