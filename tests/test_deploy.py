"""`make deploy` without a second machine: refusals, and the package packed again.

Whole deploys to a booted Debian are in tests/system/test_deploy.py.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from deploy import remote
from deploy.errors import DeployError
from deploy.host import Host
from deploy.on_device import rollout, state
from deploy.on_device.repack import repack, stanza
from tests.conftest import ROOT

ARCH = subprocess.run(
    ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
).stdout.strip()


@pytest.fixture
def near(tmp_path: Path) -> str:
    """An ssh to which every host is this machine, with the rights of the tests."""
    script = tmp_path / "ssh"
    script.write_text(
        '#!/bin/sh\nfor last; do :; done\nPATH="${0%/*}:$PATH"\n'
        '[ "$2" = exit ] || exec sh -c "$last"\n'
    )
    script.chmod(0o755)
    return str(script)


def there(folder: Path, name: str, script: str) -> None:
    """Write a program to where `near` and PATH find it first."""
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def package(folder: Path, name: str = "edge-camera", arch: str = ARCH, version: str = "9") -> Path:
    """Make a package with nothing in it."""
    (folder / "tree" / "DEBIAN").mkdir(parents=True)
    (folder / "tree" / "DEBIAN" / "control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: {arch}\n"
        "Maintainer: a\nDescription: b\n"
    )
    made = folder / "made.deb"
    build = ["dpkg-deb", "--root-owner-group", "-b", str(folder / "tree"), str(made)]
    subprocess.run(build, check=True, capture_output=True)
    return made


def refused(capsys: pytest.CaptureFixture[str], *given: str) -> tuple[int, list[str]]:
    """Return status and stderr of a deploy that must be refused before installing."""
    status = remote.main(given)
    return status, capsys.readouterr().err.splitlines()


@pytest.mark.parametrize("hosts", ["", "-oProxyCommand=false", "pi -oProxyCommand=false"])
def test_without_a_host_nothing_is_done(capsys: pytest.CaptureFixture[str], hosts: str) -> None:
    """An option of ssh is not a host."""
    status, lines = refused(capsys, f"--hosts={hosts}")
    assert (status, lines[0]) == (
        64,
        "deploy: no HOST given; HOST=user@pi, or HOST='pi1 pi2 pi3', or HOSTS=FILE",
    )


@pytest.mark.parametrize(
    ("ssh", "line"),
    [
        ("ssh -i 'a", "deploy: SSH cannot be parsed: No closing quotation: got ssh -i 'a"),
        ("", "deploy: SSH is not an installed command"),
        ("no-such-ssh -p 1", "deploy: SSH is not an installed command: got no-such-ssh -p 1"),
    ],
)
def test_a_bad_ssh_command_is_one_line(
    capsys: pytest.CaptureFixture[str], ssh: str, line: str
) -> None:
    """Not a traceback."""
    status, lines = refused(capsys, "--hosts", "pi", "--ssh", ssh)
    assert (status, lines) == (64, [line, "deploy: not changed: pi"])


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "soon"])
def test_a_bad_timeout_is_one_line(capsys: pytest.CaptureFixture[str], seconds: str) -> None:
    """Also as a number without an end."""
    status, lines = refused(capsys, "--hosts", "pi", f"--timeout={seconds}")
    line = f"deploy: TIMEOUT cannot be used: expected 1 to 86400, got {seconds}"
    assert (status, lines) == (64, [line, "deploy: not changed: pi"])


def test_the_first_host_out_of_reach_ends_it(capsys: pytest.CaptureFixture[str]) -> None:
    """The real ssh, to a port where nothing listens; the next host is not changed."""
    status, lines = refused(capsys, "--hosts", "127.0.0.1 next", "--ssh", "ssh -p 1 -F none")
    assert status == 69
    assert lines[0].startswith("deploy: 127.0.0.1: cannot be reached: got ssh: connect to host")
    assert lines[1:] == ["deploy: not changed: next"]


def test_a_package_that_was_not_built_is_named(
    capsys: pytest.CaptureFixture[str], near: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the command that builds it for that host."""
    monkeypatch.setattr(remote, "DIST", tmp_path)
    status, lines = refused(capsys, "--hosts", "pi", "--ssh", near)
    assert status == (66 if os.geteuid() == 0 else 77)
    if status == 66:
        assert "pi: no edge-camera_*~deb1" in lines[0]
        assert f"run `make deb ARCH={ARCH} SUITE=" in lines[0]


@pytest.mark.parametrize(
    ("name", "arch", "version", "words"),
    [
        ("other", ARCH, "9", "not a package of edge-camera"),
        ("edge-camera", "s390x", "9", "is for s390x"),
        (
            "edge-camera",
            ARCH,
            "9~deb11",
            "wrong Debian: got made.deb is for deb11, the host is deb1",
        ),
    ],
)
def test_another_package_is_refused(
    capsys: pytest.CaptureFixture[str],
    near: str,
    tmp_path: Path,
    name: str,
    arch: str,
    version: str,
    words: str,
) -> None:
    """Before anything is sent."""
    made = package(tmp_path, name, arch, version)
    status, lines = refused(capsys, "--hosts", "pi", "--ssh", near, "--deb", str(made))
    assert (status, words in lines[0]) == (65 if os.geteuid() == 0 else 77, os.geteuid() == 0)


def test_a_package_never_overwrites_the_previous_one(
    near: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DEB=previous.deb, into a folder that an older version created readable for all."""
    folder = tmp_path / "there"
    folder.mkdir(mode=0o755)
    (folder / "previous.deb").write_bytes(b"the previous package")
    monkeypatch.setattr(remote, "FOLDER", str(folder))
    monkeypatch.setattr(remote, "meet", lambda name, ssh: Host(name, ssh, ARCH, "deb12"))
    there(tmp_path, "systemctl", "exit 3")
    there(tmp_path, "systemd-run", f'for last; do echo "$last"; done >{tmp_path}/asked')
    given = package(tmp_path).rename(tmp_path / "previous.deb")
    assert remote.main(["--hosts", "pi", "--ssh", near, "--deb", str(given)]) == 0
    assert (folder / "previous.deb").read_bytes() == b"the previous package"
    assert (folder / "incoming.deb").read_bytes() == given.read_bytes()
    assert f"{folder}/incoming.deb" in (tmp_path / "asked").read_text().splitlines()
    assert folder.stat().st_mode & 0o777 == 0o700


BACK, RAN = rollout.BACK, f"going back to 1\n{rollout.RETURNED} 1 runs again"
EXISTS = (
    "Failed to start transient service unit: "
    "Unit edge-deploy.service was already loaded or has a fragment file."
)


@pytest.mark.parametrize(
    ("out", "err", "ends", "status", "words"),
    [
        (RAN, "", BACK, BACK, "pi: went back to the previous package"),
        (
            "installing 2",
            "Killed",
            BACK,
            70,
            "interrupted: got Killed; on the host, journalctl -t edge-deploy",
        ),
        (
            "",
            "Failed to connect to bus: Host is down",
            1,
            74,
            "the deploy did not start: got Failed to",
        ),
        (
            "",
            "sudo: a password is required",
            1,
            74,
            "the deploy did not start: got sudo: a password",
        ),
        ("installing 2", "  x\nOSError: y", 1, 70, "interrupted: got OSError: y; on the host"),
        ("internal error", "", rollout.FAULT, rollout.FAULT, "going back was not finished"),
        ("2 is not healthy", "", 70, 70, "pi: not healthy"),
        ("nothing changed", "", 74, 74, "pi: nothing was changed"),
        ("", EXISTS, 1, 75, "another deploy is running"),
        ("installing 2", "ControlSocket a already exists, disabling", 70, 70, "pi: not healthy"),
    ],
)
def test_each_outcome_has_its_line_and_status(
    near: str, tmp_path: Path, out: str, err: str, ends: int, status: int, words: str
) -> None:
    """Status 1 of python3, sudo or systemd-run is not BACK."""
    there(tmp_path, "systemd-run", f"echo '{out}'; echo '{err}' >&2; exit {ends}")
    with pytest.raises(DeployError, match=words) as output:
        remote.install(Host("pi", (near,)), "0", 1)
    assert output.value.status == status


def test_a_warning_of_ssh_is_no_other_deploy(near: str, tmp_path: Path) -> None:
    """About its control socket; the package is healthy."""
    warned = "ControlSocket /tmp/x already exists, disabling multiplexing"
    there(tmp_path, "systemd-run", f"echo '2 is healthy'; echo '{warned}' >&2")
    remote.install(Host("pi", (near,)), "0", 1)


def test_an_internal_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """With its own status, not a traceback with status 1."""
    assert rollout.main(["a.deb", "0", "no number"]) == rollout.FAULT
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("internal error of the deploy: ValueError: could not convert")
    assert "; installed: " in line
    assert "; previous package: /" in line


def test_an_installed_package_is_packed_again(tmp_path: Path) -> None:
    """mosquitto of this machine: every file, its scripts, and an edited config."""
    made = tmp_path / "again.deb"
    repack("mosquitto", made)
    subprocess.run(["dpkg-deb", "-R", made, tmp_path / "out"], check=True)
    out = tmp_path / "out"
    listed = state.run("dpkg-query", "-L", "mosquitto").stdout.splitlines()
    fields, conffiles = stanza(state.run("dpkg-query", "-s", "mosquitto").stdout)
    assert conffiles
    for path in map(Path, listed):
        again = out / path.relative_to("/")
        if path.is_file() and path not in conffiles:
            assert again.read_bytes() == path.read_bytes()
            assert again.stat().st_mode == path.stat().st_mode
    assert (out / "DEBIAN" / "control").read_text() == fields
    assert "Status:" not in fields
    for script in ("postinst", "prerm"):
        kept = Path(f"/var/lib/dpkg/info/mosquitto.{script}")
        assert (out / "DEBIAN" / script).read_bytes() == kept.read_bytes()


def installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let dpkg know a package whose one file is a conffile; return the file's path."""
    config = folder / "etc" / "own" / "own.toml"
    config.parent.mkdir(parents=True)
    listed = ["/.", *map(str, [*reversed(config.parents)][1:]), str(config)]
    control = "Package: own\nVersion: 1\nArchitecture: all\nMaintainer: a\nDescription: b"
    there(
        folder,
        "dpkg-query",
        f"[ $1 = -L ] && exec printf '%s\\n' {' '.join(listed)}\n"
        f"echo '{control}\nConffiles:\n {config} {'0' * 32}'",
    )
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return config


def test_a_config_that_is_a_link_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package holds its content, marked, and the owner's file is not written to."""
    config = installed(tmp_path, monkeypatch)
    (tmp_path / "live.toml").write_text("mine\n")
    config.symlink_to(tmp_path / "live.toml")
    repack("own", tmp_path / "made.deb")
    subprocess.run(["dpkg-deb", "-x", tmp_path / "made.deb", tmp_path / "out"], check=True)
    packed = tmp_path / "out" / config.relative_to("/")
    assert (tmp_path / "live.toml").read_text() == "mine\n"
    assert not packed.is_symlink()
    assert packed.read_text().startswith("mine\n\n# as packed")
    assert (tmp_path / "made.deb").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("gone", ["a link to nothing", "the file", "its folder"])
def test_a_removed_config_prevents_no_deploy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    """The package can be made without it."""
    config = installed(tmp_path, monkeypatch)
    if gone == "its folder":
        config.parent.rmdir()
    elif gone == "a link to nothing":
        config.symlink_to(tmp_path / "nowhere")
    repack("own", tmp_path / "made.deb")
    listed = state.run("dpkg-deb", "-c", str(tmp_path / "made.deb")).stdout
    assert str(config) in listed
    assert not (tmp_path / "nowhere").exists()


REFUSED = "echo 'E: Could not get lock' >&2; exit 100"
BREAKS = "echo 'half-configured 9' >record; echo b >start; echo 'E: broken' >&2; exit 100"
TAKEN_BACK = ["gone back: 1 runs again"]


@pytest.mark.parametrize(
    ("record", "previous", "apt", "status", "asked", "words"),
    [
        ("installed 8", True, BREAKS, rollout.BACK, 2, ["8 was never healthy", *TAKEN_BACK]),
        ("installed 8", True, REFUSED, 74, 1, ["nothing changed: apt-get"]),
        ("installed 1", True, REFUSED, 74, 1, ["nothing changed: apt-get: E: Could not get lock"]),
        ("", False, REFUSED, 74, 1, ["(no version before)", "nothing changed: apt-get"]),
        ("installed 1", True, BREAKS, rollout.BACK, 2, ["apt-get: E: broken", *TAKEN_BACK]),
        (
            "half-configured 9",
            True,
            BREAKS,
            rollout.BACK,
            2,
            ["the previous package is 1", *TAKEN_BACK],
        ),
        ("half-configured 9", True, REFUSED, rollout.BACK, 2, TAKEN_BACK),
        ("half-configured 9", False, BREAKS, 70, 1, ["no previous package to go back to"]),
    ],
)
def test_it_goes_back_where_anything_was_changed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    record: str,
    previous: bool,
    apt: str,
    status: int,
    asked: int,
    words: list[str],
) -> None:
    """And nowhere else; to an earlier deploy's previous package, where that was interrupted."""
    back = tmp_path / "previous.deb"
    if previous:
        (tmp_path / "old").mkdir()
        package(tmp_path / "old", version="1").rename(back)
    given = package(tmp_path)
    (tmp_path / "record").write_text(record)
    (tmp_path / "start").write_text("a")
    there(tmp_path, "dpkg-query", "cat record")
    there(tmp_path, "logger", "")
    there(tmp_path, "edge", "exit 1")
    there(tmp_path, "systemctl", 'echo "InvocationID=$(cat start)"; echo ActiveState=active')
    went = "echo 'installed 1' >record; echo c >start"
    which = f'case "$last" in *previous.deb) {went};; *) {apt}; esac'
    there(tmp_path, "apt-get", f"echo >>asked; for last; do :; done\n{which}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(rollout, "PREVIOUS", back)
    for name in ("UNPROVEN", "PROVEN", "REFUSED"):
        monkeypatch.setattr(rollout, name, tmp_path / name.lower())
    (tmp_path / "unproven").write_text("8")
    repacked: list[str] = []
    monkeypatch.setattr(rollout, "repack", lambda name, to: repacked.append(name))
    monkeypatch.setattr(rollout, "POLL_S", 0)
    monkeypatch.setattr(rollout, "SETTLED_S", 0)
    digest = hashlib.sha256(given.read_bytes()).hexdigest()
    assert rollout.main([str(given), digest, "0"]) == status
    output = capsys.readouterr().out
    assert [word for word in words if word not in output] == []
    assert len((tmp_path / "asked").read_text()) == asked
    assert not given.exists()
    assert bool(repacked) == (record == "installed 1"), "only a healthy package is packed again"
    assert (tmp_path / "unproven").exists() == (status != rollout.BACK)
    refused = tmp_path / "refused"
    assert refused.exists() == (status == rollout.BACK), "it says that it went back"
    if status == 74:
        assert (tmp_path / "unproven").read_text() == "8"


def service(online: bool, version: str | None, run: str, camera: str = "online") -> state.Service:
    """Return an active service."""
    facts = {"online": online, "version": version, "run": run, "camera": camera}
    output = {"name": "published", "verdict": "ok", "line": "", "facts": facts}
    return state.Service("id", "active", "", {"published": output})


@pytest.mark.parametrize(
    ("now", "wrong"),
    [
        (service(True, "0.2.0", "b"), ""),
        (service(True, None, "b"), ""),
        (service(True, "0.1.0", "a"), "the broker has version 0.1.0, not 0.2.0"),
        (service(True, "0.2.0", "a"), "the broker has only the message of the previous start"),
        (service(True, "0.2.0", "b", "lost"), "its camera is lost"),
        (service(False, "0.2.0", "b"), "the service is active ()"),
        (state.Service("id", "active", "", {}), "`edge doctor` gives no answer"),
    ],
)
def test_healthy_is_what_the_broker_has_of_this_start(now: state.Service, wrong: str) -> None:
    """The new version, online, by the process that runs now, with its camera."""
    assert rollout.judge(now, "0.2.0~deb12", service(True, "0.1.0", "a")) == wrong


def test_the_program_runs_by_itself(tmp_path: Path) -> None:
    """On a python3 without this repository."""
    sent = remote.program(tmp_path / "rollout.pyz")
    done = subprocess.run(
        ["/usr/bin/python3", "-I", sent, tmp_path / "missing.deb", "0", "1"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (74, "")
    assert done.stdout.startswith(
        "nothing changed: the installed package could not be kept: [Errno 2]"
    )
    assert str(ROOT) not in done.stdout
