"""`make install` in a clone on a booted Debian with a network, by a user with sudo.

In this order: all tests use the same machine, which is not that of the other files.
"""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
import time
from collections.abc import Iterator
from typing import Final

import pytest

from edge import __version__
from tests.conftest import ROOT
from tests.system.conftest import APT, BASES, CLIP, CONFIG, SETTINGS, is_up
from tests.system.containers import container
from tests.system.machine import Machine, Result
from tests.system.packages import ENDS
from tests.system.page import UNIT, Page

pytestmark = pytest.mark.system
CLONE: Final = "/home/user/edge"
LATER: Final = "99.0.0"


@pytest.fixture(scope="module")
def online(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A booted Debian with a network, a user, and a clone of this working tree."""
    name: str = request.param
    if name.endswith("arm64"):
        pytest.skip("LEFT OUT: an emulated machine has no network, and would take an hour")
    with container(name, BASES / name / "root", network=True) as machine:
        machine.put(CLIP, (ROOT / "deploy" / "demo" / "clip.mp4").read_bytes())
        machine.put("/etc/sudoers.d/user", b"user ALL=(ALL) NOPASSWD: ALL\n")
        machine.put("/root/clone.tar", clone())
        machine.run(
            f"useradd --create-home --shell /bin/bash user && mkdir {CLONE}"
            f" && tar -xf /root/clone.tar -C {CLONE} && chown -R user: {CLONE}"
            " && apt-get -qq update && apt-get -qq -y install make",
            timeout_s=180,
        )
        yield machine


def clone() -> bytes:
    """Return the files of this working tree as a tar archive, without what git ignores."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in names.decode().split("\0"):
            if name and (ROOT / name).is_file():
                tar.add(ROOT / name, name)
    return archive.getvalue()


def install(machine: Machine, before: str = "") -> Result:
    """Run `make install` in the clone as the user, and print the time."""
    began = time.monotonic()
    command = f"{before} su - user -c 'make -C edge install'"
    result = machine.run(command, check=False, timeout_s=900)
    print(f"{machine.name}: make install: {time.monotonic() - began:.0f} s")
    return result


def version(machine: Machine) -> str:
    """Return the installed version."""
    return machine.output("dpkg-query -W -f '${db:Status-Status} ${Version}' edge-camera")


def last_lines(result: Result) -> list[str]:
    """Return the report at the end."""
    return [line for line in result.output.splitlines() if line.startswith("install: ")]


def test_a_clone_installs_itself(online: Machine) -> None:
    """With PyPI's runtime; without a camera the report says so."""
    result = install(online)

    assert result.status == 0, result.output
    number = f"{__version__}~{ENDS[online.name.split('-')[0]]}"
    assert version(online) == f"installed {number}"
    first, service, config, health, page = last_lines(result)
    assert first == f"install: edge-camera {number} is installed"
    assert re.match(r"install: service edge-camera: activating: .*no camera found", service)
    assert f"config: {CONFIG}" in config
    assert "sudo edge doctor" in health
    assert f"sudo apt install ./build/dist/edge-camera-web_{number}_all.deb" in page
    assert online.output("systemctl is-enabled edge-camera") == "enabled"
    owners = online.output(f"find {CLONE} ! -user user")
    assert owners == "", "root leaves nothing in the clone"


def test_it_classifies(online: Machine) -> None:
    """PyPI's TensorFlow Lite passes the attested start, and results reach the broker."""
    online.put(CONFIG, SETTINGS.format(source=CLIP, fps=30).encode())
    online.run("systemctl restart edge-camera")
    online.wait_for("an active service", lambda: is_up(online))
    subscriber = online.subscribe("edge/#")
    subscriber.wait_for("results", lambda: subscriber.of("result"))
    subscriber.wait_for("info", lambda: subscriber.of("info"))
    assert "ai_edge_litert" in str(subscriber.of("info")[0].body)
    subscriber.close()


def test_apt_finds_what_the_page_needs(online: Machine) -> None:
    """In Debian's archive; then it is served."""
    page = f"{CLONE}/build/dist/edge-camera-web_*.deb"
    needs = re.findall(r"python3-[\w-]+", online.output(f"dpkg-deb -f {page} Depends"))
    online.run(f"{APT} autoremove --purge {' '.join(needs)}", timeout_s=180)
    assert online.run("python3 -c 'import starlette'", check=False).status == 1

    online.run(f"{APT} install {page}", timeout_s=300)

    assert Page(online).get("/healthz") == {"ok": True}


def test_the_same_command_upgrades(online: Machine) -> None:
    """The config stays, the service runs the new version, and the page comes along."""
    online.run(f"sed -i 's/__version__ = .*/__version__ = \"{LATER}\"/' {CLONE}/edge/__init__.py")

    result = install(online)

    assert result.status == 0, result.output
    assert version(online).startswith(f"installed {LATER}~")
    assert online.run(f"cat {CONFIG}").output == SETTINGS.format(source=CLIP, fps=30)
    assert "install: service edge-camera: active" in result.output
    assert is_up(online)
    assert online.output(f"dpkg-query -W -f '${{Version}}' {UNIT}").startswith(f"{LATER}~")
    assert Page(online).get("/healthz") == {"ok": True}


def test_debian_13_cannot_build_the_runtime(online: Machine) -> None:
    """`make runtime` and `make image` say at once what they need, and install nothing."""
    if online.name.startswith("bookworm"):
        pytest.skip("Debian 12 can: make test-runtime")
    before = online.output("dpkg-query -f '${Package}\\n' -W | wc -l")
    for verb in ("runtime", "image"):
        result = online.run(f"su - user -c 'make -C edge {verb}'", check=False)
        assert result.status == 2
        assert "\nruntime: this system is too new to build wheels that Debian 12" in result.output
        assert "build in a machine, container or chroot with Debian 12" in result.output
        assert "Error 69" in result.output
    assert online.output("dpkg-query -f '${Package}\\n' -W | wc -l") == before


def test_without_a_network_it_says_so(online: Machine) -> None:
    """In one line, with status 69, and what is installed runs on."""
    online.run(f"rm -r {CLONE}/build/package")

    result = install(online, "unshare --net")

    assert "\npackage: PyPI cannot be reached; is the network up?\nmake: " in result.output
    assert "Error 69" in result.output
    assert is_up(online)
