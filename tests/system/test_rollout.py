"""`make deploy HOSTS=` and `make rollout` to three booted Debians, one of which is made to fail.

In this order: all tests use the same three machines, each with a broker, a service and an sshd.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.conftest import MODELS, ROOT, edge
from tests.odd_models import wide
from tests.signing import new_key
from tests.system import packages
from tests.system.conftest import BASES, CONFIG, SETTINGS, is_up, natives
from tests.system.containers import container
from tests.system.machine import Machine

pytestmark = pytest.mark.system
NAMES: Final = ("canary", "second", "third")
SLOW: Final = "/etc/edge-test-slow"
SLEEPS: Final = f"""
import os
if os.path.exists("{SLOW}"):
    _quick = FramePath.process
    def _process(self, frame, wait_ns):
        time.sleep(1.5)
        _quick(self, frame, wait_ns)
    FramePath.process = _process
"""
"""READY and online, and then two frames in three seconds: no health check sees it."""
SHADOW: Final = "\n[shadow]\nevery = 1\ncpu_share = 0.9\n"
GATES: Final = "fps=0.2 p99=1000"
"""Three machines, and whatever else runs, share the cores: of a healthy one's frames a part may be
left, and the slowest in a hundred says nothing. Labels are compared as by default.
"""
WAVES: Final = "1 1 100%"


class Fleet:
    """Three machines, and the commands that reach them."""

    def __init__(self, machines: dict[str, Machine], folder: Path) -> None:
        self.machines, self.folder = machines, folder
        self.hosts = folder / "fleet.txt"
        self.hosts.write_text(
            "# the first one is the canary\nroot@canary\nuser@second\nroot@third\n"
        )
        key = folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        public = key.with_suffix(".pub").read_bytes()
        lines = []
        for name, machine in machines.items():
            machine.run("useradd --create-home user")
            for home in ("/root", "/home/user"):
                machine.put(f"{home}/.ssh/authorized_keys", public)
            machine.put("/etc/sudoers.d/user", b"user ALL=(ALL) NOPASSWD: ALL\n")
            proxy = f"{sys.executable} {ROOT}/tests/system/proxy.py {machine.console.parent}/shell"
            lines.append(f"Host {name}\n  ProxyCommand {proxy}\n  ProxyUseFdpass yes\n")
        (folder / "config").write_text(
            "".join(lines) + f"Host *\n  IdentityFile {key}\n  StrictHostKeyChecking no\n"
            "  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n"
        )

    def command(self, what: str, *more: str) -> list[str]:
        """Return the command of a rollout."""
        return [
            *("/usr/bin/python3", "-B", "-m", "deploy.rollout", what, f"--hosts={self.hosts}"),
            *(f"--ssh=ssh -F {self.folder}/config", f"--states={self.folder}/states"),
            *(
                f"--waves={WAVES}",
                f"--gates={GATES}",
                "--soak=3",
                "--look=6",
                "--timeout=90",
                *more,
            ),
        ]

    def rollout(self, what: str, *more: str) -> subprocess.CompletedProcess[str]:
        """Run one to its end."""
        done = subprocess.run(
            self.command(what, *more), capture_output=True, text=True, check=False, cwd=ROOT
        )
        print(done.stdout, done.stderr, sep="")
        return done

    def state(self, name: str) -> dict[str, dict[str, Any]]:
        """Return what the state's file says of each host."""
        content = json.loads((self.folder / "states" / f"fleet-{name}.json").read_text())
        return {entry["host"].partition("@")[2]: entry for entry in content["hosts"]}

    def report(self, name: str) -> str:
        """Return the report for people."""
        return (self.folder / "states" / f"fleet-{name}.md").read_text()

    def versions(self) -> list[str]:
        """Return the installed version of each machine, all of which must run."""
        query = "dpkg-query -W -f '${Version}' edge-camera"
        assert all(is_up(machine) for machine in self.machines.values())
        return [machine.output(query) for machine in self.machines.values()]

    def models(self) -> list[str]:
        """Return the name of the model in use on each machine."""
        line = '{"command": "model", "action": "list", "transaction": 1}'
        code = (
            "import json,socket; s=socket.socket(socket.AF_UNIX); s.settimeout(9);"
            f"s.connect('/run/edge-camera/edge.sock'); s.sendall(b'{line}\\n'); f=s.makefile();"
            "print(next(m['payload']['data']['in_use'] for m in map(json.loads, f)"
            " if m['topic'] == 'response/model'))"
        )
        return [one.output(f"python3 -c {json.dumps(code)!s}") for one in self.machines.values()]

    def starts(self) -> dict[str, str]:
        """Return systemd's id of the start of the service on each machine."""
        return {
            name: one.show("InvocationID")["InvocationID"] for name, one in self.machines.items()
        }


@pytest.fixture(scope="module")
def suite() -> str:
    """The first machine of this architecture that the run names."""
    return natives()[0]


@pytest.fixture(scope="module")
def fleet(suite: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Three machines without the package, each with a config and a broker of its own."""
    settings = SETTINGS.format(source="synthetic", fps=8) + SHADOW
    with contextlib.ExitStack() as stack:
        machines = {}
        for name in NAMES:
            machine = stack.enter_context(container(f"{suite} {name}", BASES / suite / "root"))
            machine.put(CONFIG, settings.encode())
            machine.run("systemctl start mosquitto")
            machines[name] = machine
        yield Fleet(machines, tmp_path_factory.mktemp("fleet"))


@pytest.fixture(scope="module")
def deb(suite: str) -> packages.Package:
    """The package for these machines."""
    return packages.find(packages.DIST, *suite.split("-"))


def card(folder: Path, version: str, file: Path, labels: tuple[str, ...]) -> Path:
    """Return a model's folder: a network of the tests with a card."""
    folder.mkdir()
    content = file.read_bytes()
    (folder / "model.tflite").write_bytes(content)
    (folder / "model.toml").write_text(
        f'name = "gate"\nversion = "{version}"\nfile = "model.tflite"\n'
        f"labels = {json.dumps(labels)}\n"
        f'sha256 = "{hashlib.sha256(content).hexdigest()}"\n'
    )
    return folder


def test_three_waves_on_devices_without_a_package(
    fleet: Fleet, deb: packages.Package, tmp_path: Path
) -> None:
    """Nothing to compare with: each is judged by what it is after."""
    done = fleet.rollout("package", f"--deb={packages.changed(deb, tmp_path, '0.1.0')}")
    assert done.returncode == 0, done
    assert fleet.versions() == ["0.1.0"] * 3
    assert {entry["state"] for entry in fleet.state("0.1.0").values()} == {"healthy"}
    assert "deploy: wave 3 of 3: 1 of 1 healthy" in done.stdout.splitlines()


def test_a_wave_that_is_slower_stops_and_goes_back(
    fleet: Fleet, deb: packages.Package, tmp_path: Path
) -> None:
    """The third device is never touched; the same command ends it once the second is repaired."""
    second = fleet.machines["second"]
    second.put(SLOW, b"")
    before, made = fleet.starts(), packages.changed(deb, tmp_path, "0.2.0", framepath=SLEEPS)
    done = fleet.rollout("package", f"--deb={made}")
    assert done.returncode == 3, done
    assert fleet.versions() == ["0.2.0", "0.1.0", "0.1.0"]
    state, why = fleet.state("0.2.0"), "frames a second"
    assert [state[name]["state"] for name in NAMES] == ["healthy", "back", "waiting"]
    assert why in state["second"]["why"]
    assert fleet.starts()["third"] == before["third"]
    assert why in fleet.report("0.2.0")
    assert "| 2 | user@second | taken back | 0.1.0 -> 0.2.0 |" in fleet.report("0.2.0")

    second.run(f"rm {SLOW}")
    after = fleet.starts()
    done = fleet.rollout("package", f"--deb={made}")
    assert done.returncode == 0, done
    assert fleet.versions() == ["0.2.0"] * 3
    assert fleet.starts()["canary"] == after["canary"], "a healthy device is not touched"
    assert "healthy already" in done.stdout


def test_an_interrupted_rollout_is_continued(
    fleet: Fleet, deb: packages.Package, tmp_path: Path
) -> None:
    """Ctrl-C while the canary installs: it ends there by itself, and is not installed twice."""
    made = packages.changed(deb, tmp_path, "0.3.0")
    log = "journalctl -q -t edge-deploy -o cat"
    with subprocess.Popen(
        fleet.command("package", f"--deb={made}"), stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        canary = fleet.machines["canary"]
        canary.wait_for("its begin", lambda: "installing 0.3.0" in canary.output(log), 90)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert fleet.state("0.3.0")["canary"]["state"] == "changing"
    done = fleet.rollout("package", f"--deb={made}")
    assert done.returncode == 0, done
    assert fleet.versions() == ["0.3.0"] * 3
    assert canary.output(log).count("installing 0.3.0") == 1


def test_a_model_goes_to_all(fleet: Fleet, tmp_path: Path) -> None:
    """By the request `model`; its labels are others, so they are not compared."""
    given = card(tmp_path / "one", "1", MODELS / "uint8io.tflite", ("red", "green", "blue"))
    before = fleet.starts()
    done = fleet.rollout("model", f"--model={given}", f"--gates={GATES} agreement=0")
    assert done.returncode == 0, done
    assert fleet.models() == ["gate@1"] * 3
    assert fleet.starts() == before, "no service was restarted"


@pytest.mark.parametrize(
    ("name", "version", "more", "why"),
    [
        ("slow", "2", ("--gates=fps=0.8 p99=2",), "frames a second|p99"),
        ("unlike", "3", ("--shadow=15",), "as a shadow it agrees"),
        ("unlike", "4", ("--look=20",), "of the labels are as before"),
    ],
)
def test_a_model_that_passes_its_trial_and_not_its_gates(
    fleet: Fleet, tmp_path: Path, name: str, version: str, more: tuple[str, ...], why: str
) -> None:
    """The canary goes back to the model before, which is in use again; no other is touched."""
    labels = ("red", "green", "blue") if name == "slow" else ("x", "y", "z")
    network = wide(tmp_path, 1600) if name == "slow" else MODELS / "uint8io.tflite"
    given = card(tmp_path / "bundle", version, network, labels)
    done = fleet.rollout("model", f"--model={given}", *more)
    assert done.returncode == 3, done
    assert fleet.models() == ["gate@1"] * 3
    state = fleet.state(f"gate@{version}")
    assert state["second"]["state"] == state["third"]["state"] == "waiting"
    assert any(word in state["canary"]["why"] for word in why.split("|")), state["canary"]
    assert f"gate@{version}" not in fleet.machines["canary"].output("edge models list")


def test_a_shadow_that_agrees_is_promoted(fleet: Fleet, tmp_path: Path) -> None:
    """On all three, with its agreement in the report."""
    given = card(tmp_path / "five", "5", MODELS / "uint8io.tflite", ("red", "green", "blue"))
    done = fleet.rollout("model", f"--model={given}", "--shadow=15")
    assert done.returncode == 0, done
    assert fleet.models() == ["gate@5"] * 3
    agreements = [one["after"]["agreement"] for one in fleet.state("gate@5").values()]
    assert min(agreements) > 0.9


def test_a_signed_bundle_fails_alone_where_its_key_is_missing(fleet: Fleet, tmp_path: Path) -> None:
    """One file goes to all; how many may fail says whether the others get it."""
    key, bundle = new_key(tmp_path / "key", "fleet"), tmp_path / "gate-6.edgemodel"

    def trust(*names: str) -> None:
        for name in names:
            place = "/etc/edge-camera/trusted-keys/fleet.pem"
            fleet.machines[name].put(place, key.with_suffix(".pem").read_bytes())

    trust("canary", "third")
    given = card(tmp_path / "six", "6", MODELS / "uint8io.tflite", ("red", "green", "blue"))
    signed = edge("models", "sign", given, "--key", key, "--out", bundle)
    assert signed.returncode == 0, signed.stderr
    options = (f"--model={bundle}", f"--gates={GATES} agreement=0")
    before, starts = fleet.models(), fleet.starts()

    stopped = fleet.rollout("model", *options)

    assert stopped.returncode == 3, stopped
    assert fleet.models() == ["gate@6", *before[1:]]
    state = fleet.state("gate@6")
    assert [state[name]["state"] for name in NAMES] == ["healthy", "failed", "waiting"]
    assert "no key is trusted on this device" in state["second"]["why"]
    assert "gate@6" not in fleet.machines["second"].output("edge models list")

    passed = fleet.rollout("model", *options, "--failures=1")

    assert passed.returncode == 3, passed
    assert fleet.models() == ["gate@6", before[1], "gate@6"]
    trust("second")
    done = fleet.rollout("model", *options)
    assert done.returncode == 0, done
    assert fleet.models() == ["gate@6"] * 3
    assert fleet.starts() == starts, "no service was restarted"
