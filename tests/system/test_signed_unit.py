"""Signed models in the unit's own sandbox: from the key to a request over mosquitto.

In this order: all tests use the same machine, which is the operator's, the server's and the device.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.conftest import ROOT
from tests.signing import named
from tests.system.conftest import APT, CONFIG, is_up
from tests.system.machine import Machine, Received, Result
from tests.system.packages import Package

pytestmark = pytest.mark.system
SITE: Final = "/srv/site"
HOST: Final = "models.example"
DEVICE: Final = "edge-test"
PASSPHRASE: Final = "correct horse"
TERMINAL: Final = """
import os, pty, sys
child, terminal = pty.fork()
if not child:
    os.execvp(sys.argv[2], sys.argv[2:])
try:
    while text := os.read(terminal, 4096):
        os.write(1, text)
        if text.rstrip().endswith(b":"):
            os.write(terminal, sys.argv[1].encode() + b"\\n")
except OSError:
    pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
"""Runs a command on a terminal, and answers every question with a passphrase."""
SERVER: Final = f"""
import time
from pathlib import Path
from tests.bundle_server import Server
from tests.certificates import Authority

class Named(Authority):
    def sign(self, name, **_):
        return super().sign(name, address="DNS:{HOST}")

class Site(Server):
    content = property(lambda self: Path("bundle").read_bytes(), lambda self, content: None)

folder = Path.cwd()
secure, plain = Site(b"", Named(folder, "ca"), folder), Site(b"")
Path("roots").write_text(f"{{secure.root}}\\n{{plain.root}}".replace("127.0.0.1", "{HOST}"))
while True:
    time.sleep(0.2)
    Path("sent").write_text(str(plain.sent))
"""
"""Serves the file `bundle` as it is at each request, over TLS and without."""


class Device:
    """The service, its config, what it publishes; and a server beside it. roots: https, http."""

    def __init__(self, machine: Machine, settings: str) -> None:
        self.machine, self._settings, self._transaction = machine, settings, 0
        for name in ("bundle_server.py", "certificates.py"):
            machine.put(f"{SITE}/tests/{name}", (ROOT / "tests" / name).read_bytes())
        machine.put(f"{SITE}/terminal.py", TERMINAL.encode())
        machine.put(f"{SITE}/server.py", SERVER.encode())
        machine.run(
            f"echo 127.0.0.1 {HOST} >>/etc/hosts; systemd-run -q --unit=site"
            f" -p WorkingDirectory={SITE} -E PYTHONPATH={SITE} python3 {SITE}/server.py"
        )
        roots = f"cat {SITE}/roots"
        machine.wait_for("a server", lambda: machine.run(roots, check=False).status == 0)
        self.https, self.http = machine.output(roots).splitlines()
        self.subscriber = machine.subscribe(f"edge/{DEVICE}/#")

    def configure(self, more: str) -> None:
        """Give the service its usual config and these lines of [bundles]; reload it."""
        prefixes = json.dumps([f"{root}/models/" for root in (self.https, self.http)])
        text = f"{self._settings}[bundles]\nfetch = {prefixes}\n{more}"
        self.machine.put(CONFIG, text.encode())
        before = len(self.subscriber.events("reloaded"))
        self.machine.run("systemctl reload edge-camera")
        self.wait("a reload", lambda: len(self.subscriber.events("reloaded")) > before)

    def operator(self, command: str) -> Result:
        """Run a command in the operator's folder, on a terminal with a passphrase."""
        words = f"python3 terminal.py {shlex.quote(PASSPHRASE)} {command}"
        return self.machine.run(f"cd {SITE} && {words}")

    def serve(self, version: str, folder: Path, more: str = "") -> None:
        """Sign the colour model as a version of `gate`, and have it served."""
        for path in named(folder / version, "gate", version).iterdir():
            self.machine.put(f"{SITE}/gate-{version}/{path.name}", path.read_bytes())
        self.operator(f"edge models sign gate-{version} --key fleet.key {more} --out bundle")

    def ask(self, **body: Any) -> Any:
        """Return the answer to a request `model`."""
        number = self.send(**body)
        self.wait(f"the answer to {body}", lambda: self.answers(number), 60)
        return self.answers(number)[0]

    def send(self, **body: Any) -> int:
        """Publish a request `model`; return its transaction."""
        self._transaction += 1
        text = shlex.quote(json.dumps({**body, "transaction": self._transaction}))
        self.machine.run(f"mosquitto_pub -q 1 -t edge/{DEVICE}/request/model -m {text}")
        return self._transaction

    def answers(self, number: int) -> list[Any]:
        """Return the answers with this transaction."""
        bodies = [one.body for one in self.subscriber.of("model") if _is_answer(one)]
        return [body for body in bodies if body["transaction"] == number]

    def refused(self, url: str, words: str) -> None:
        """A fetch is refused with these words, as an answer and an event; nothing is added."""
        before = self.record()
        events = len(self.subscriber.events("model_refused"))
        answer = self.ask(action="fetch", url=url)
        assert (answer["status"], words in answer["error"]) == ("error", True), answer
        self.wait("the event", lambda: len(self.subscriber.events("model_refused")) > events)
        print(f"{self.machine.name}: {answer['error']}")
        assert self.record() == before

    def record(self) -> str:
        """Return the installed models, and the record of serials."""
        look = "cd /var/lib/private/edge-camera; ls -A models; cat signed.json"
        return self.machine.output(f"{{ {look}; }} 2>/dev/null; true")

    def wait(self, what: str, condition: Callable[[], object], timeout_s: float = 30.0) -> None:
        """Wait until it holds, of what was published."""
        self.subscriber.wait_for(what, condition, timeout_s)


def _is_answer(message: Received) -> bool:
    return "/response/" in message.topic


@pytest.fixture(scope="module")
def device(machine: Machine, package: Package, settings: str) -> Iterator[Device]:
    """The package, installed and running; nothing of it is left after."""
    machine.put("/root/package.deb", package.path.read_bytes())
    machine.put(CONFIG, settings.encode())
    machine.run("systemctl start mosquitto")
    machine.run(f"{APT} install /root/package.deb", timeout_s=180)
    machine.wait_for("an active service", lambda: is_up(machine))
    running = Device(machine, settings)
    yield running
    running.subscriber.close()
    machine.run(f"systemctl stop site; {APT} purge edge-camera", timeout_s=180)


def test_a_request_adds_a_signed_model_and_another_uses_it(device: Device, tmp_path: Path) -> None:
    """With the commands of docs/signing.md, a key with a passphrase, and https by a name."""
    device.operator("openssl genpkey -algorithm ed25519 -aes256 -out fleet.key")
    device.operator("openssl pkey -in fleet.key -pubout -out fleet.pem")
    device.serve("2", tmp_path, "--serial 200")
    device.configure("")
    url = f"{device.https}/models/good"
    assert "no key is trusted" in device.ask(action="fetch", url=url)["error"]
    install = "install -D -m 644 fleet.pem /etc/edge-camera/trusted-keys/fleet.pem"
    device.machine.run(f"cd {SITE} && {install}")
    device.refused(url, "bundles.ca_file names an authority")
    device.machine.run(f"install -m 644 {SITE}/ca.crt /etc/edge-camera/models-ca.crt")
    device.configure('ca_file = "/etc/edge-camera/models-ca.crt"\n')

    answer = device.ask(action="fetch", url=url)

    assert answer["status"] == "ok", answer
    data = answer["data"]
    assert (data["name"], data["serial"], data["changed"]) == ("gate@2", 200, True)
    device.wait("model_added", lambda: device.subscriber.events("model_added"))
    assert device.ask(action="use", name="gate")["status"] == "ok"
    assert device.ask(action="list")["data"]["in_use"] == "gate@2"
    colours = {"red", "green", "blue"}
    device.wait(
        "a colour", lambda: device.subscriber.of("state")[-1].body["label"] in {*colours, None}
    )


def test_a_replay_and_a_downgrade_are_refused(device: Device, tmp_path: Path) -> None:
    """Over http as over https, and by the next process too: the record is on the disk."""
    before = device.machine.show("InvocationID")
    device.machine.run("systemctl restart edge-camera", timeout_s=90)
    assert device.machine.show("InvocationID") != before
    url = f"{device.http}/models/good"
    device.serve("3", tmp_path, "--serial 199")
    device.refused(url, "expected a serial above 200, got 199")
    device.serve("1", tmp_path, "--serial 201")
    device.refused(url, "the version is older than the one that was accepted last")
    assert device.ask(action="list")["data"]["in_use"] == "gate@2"


def test_a_server_that_is_silent_or_endless_is_refused_and_frames_go_on(
    device: Device, tmp_path: Path
) -> None:
    """Each in one line; of the endless answer little is read, and the process is the same."""
    pid = device.machine.show("MainPID")
    device.serve("4", tmp_path)
    number = device.send(action="fetch", url=f"{device.http}/models/silent")
    device.subscriber.messages.clear()
    device.wait("results meanwhile", lambda: len(device.subscriber.of("result")) > 5)
    assert not device.answers(number)
    device.wait("the answer", lambda: device.answers(number), 60)
    assert "no answer for 15 s" in device.answers(number)[0]["error"]
    device.refused(f"{device.http}/models/after", "more follows after the end of the bundle")
    device.refused(f"{device.http}/models/endless", "not a signed bundle")
    count = len(device.subscriber.of("result"))
    device.wait("results after it", lambda: len(device.subscriber.of("result")) > count + 5)
    assert int(device.machine.output(f"cat {SITE}/sent")) < 50_000_000
    assert device.machine.show("MainPID") == pid
    refusals = device.machine.output("journalctl -q -u edge-camera EDGE_EVENT=model_refused -o cat")
    assert "no answer for 15 s" in refusals
    assert device.ask(action="fetch", url=f"{device.http}/models/good")["data"]["name"] == "gate@4"
