"""Fixtures: booted machines, the package, and the service in a known state."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from tests.conftest import ROOT
from tests.system import packages
from tests.system.containers import container
from tests.system.emulated import emulated
from tests.system.machine import Machine, Subscriber

BASES: Final = ROOT / "build" / "system"
CONFIG: Final = "/etc/edge-camera/edge.toml"
CLIP: Final = "/usr/local/share/clip.mp4"
SETTINGS: Final = """
[camera]
source = "{source}"
fps = {fps}
[publish]
result = true
state_interval_s = 1.0
telemetry_interval_s = 2.0
"""
APT: Final = (
    "DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0"
    " -o Dpkg::Options::=--force-confold"
)
"""As unattended upgrades do it: an edited config is kept without a question."""
EXPOSURE_MAX: Final = 1.5
LEFT: Final = (
    "find / -xdev \\( -path /proc -o -path /sys -o -path /var/log -o -path /run/log \\) -prune"
    " -o -iname '*edge-camera*' -print"
)
"""Prints what is left of the packages; journal and apt's own records aside."""


def natives() -> list[str]:
    """Return the machines of EDGE_MACHINES that are not emulated; skip where there is none."""
    names = os.environ.get("EDGE_MACHINES", "bookworm-amd64").split()
    if not (here := [name for name in names if name.endswith("amd64")]):
        pytest.skip("LEFT OUT: several emulated machines, or a large one, would take hours")
    return here


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run everything on each machine that EDGE_MACHINES names."""
    names = os.environ.get("EDGE_MACHINES", "bookworm-amd64").split()
    if "machine" in metafunc.fixturenames:
        metafunc.parametrize("machine", names, indirect=True, scope="session")
    if "online" in metafunc.fixturenames:
        metafunc.parametrize("online", names, indirect=True, scope="module")


@pytest.fixture(scope="session")
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A booted Debian without the package."""
    name: str = request.param
    base = BASES / name
    booting = emulated(name, base) if name.endswith("arm64") else container(name, base / "root")
    with booting as running:
        running.put(CLIP, (ROOT / "deploy" / "demo" / "clip.mp4").read_bytes())
        yield running


@pytest.fixture(scope="session")
def package(machine: Machine) -> packages.Package:
    """The package for this machine."""
    return packages.find(packages.DIST, *machine.name.split("-"))


@pytest.fixture(scope="session")
def web_package(machine: Machine) -> packages.Package:
    """The page's package for this machine."""
    suite, arch = machine.name.split("-")
    return packages.find(packages.DIST, suite, arch, packages.WEB)


@pytest.fixture(scope="session")
def settings(machine: Machine) -> str:
    """A config with this machine's camera."""
    if machine.name.endswith("arm64"):
        return SETTINGS.format(source="/dev/video0", fps=10)
    return SETTINGS.format(source=CLIP, fps=30)


def is_up(machine: Machine) -> bool:
    """Return whether the service is READY and its process runs."""
    return machine.show("ActiveState", "SubState") == {
        "ActiveState": "active",
        "SubState": "running",
    }


@pytest.fixture
def service(machine: Machine, settings: str) -> Machine:
    """The machine with the service running on its usual config, and its broker up."""
    machine.run("systemctl start mosquitto && systemctl reset-failed")
    if not is_up(machine) or machine.run(f"cat {CONFIG}").output != settings:
        machine.put(CONFIG, settings.encode())
        machine.run("systemctl restart edge-camera", timeout_s=90)
    machine.wait_for("an active service", lambda: is_up(machine))
    return machine


@pytest.fixture
def subscribe(machine: Machine) -> Iterator[Callable[[], Subscriber]]:
    """Return a function that starts a subscriber."""
    begun: list[Subscriber] = []

    def begin() -> Subscriber:
        begun.append(machine.subscribe("edge/#"))
        return begun[-1]

    yield begin
    for subscriber in begun:
        subscriber.close()
