"""A headless Chromium, reached by the DevTools protocol over a pipe.

Needs Debian's `chromium` and nothing else. Source: chromedevtools.github.io/devtools-protocol, and
Chromium's --remote-debugging-pipe: messages are JSON, each ended by a zero byte, on descriptors 3
and 4.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

LONGEST_S: Final = 50.0
"""Longest wait for what must come; a machine may be loaded."""
FLAGS: Final = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-extensions", "--hide-scrollbars", "--lang=en-GB"),
    *("--password-store=basic", "--force-color-profile=srgb", "--remote-debugging-pipe"),
)


class DevTools:
    """One Chromium with one page. folder: of its profile.

    errors    what the console, the content security policy and exceptions said
    requests  every address that the page asked for
    """

    def __init__(self, folder: Path) -> None:
        to_child, self._out = os.pipe()
        self._in, from_child = os.pipe()
        command = f'exec chromium "$@" 3<&{to_child} 4>&{from_child}'
        self.process = subprocess.Popen(
            ["bash", "-c", command, "bash", *FLAGS, f"--user-data-dir={folder}", "about:blank"],
            pass_fds=(to_child, from_child),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_child)
        os.close(from_child)
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._answers: dict[int, dict[str, Any]] = {}
        self._came = threading.Condition()
        self._number, self._session = 0, ""
        threading.Thread(target=self._read, daemon=True).start()
        self._attach()

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(BrokenPipeError):
            self._send("Browser.close")
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self._out)

    def call(self, method: str, **parameters: Any) -> Any:
        """Return the result of a method of the protocol."""
        number = self._send(method, **parameters)
        with self._came:
            assert self._came.wait_for(lambda: number in self._answers, LONGEST_S), method
            answer = self._answers.pop(number)
        assert "error" not in answer, f"{method}: {answer}"
        return answer["result"]

    def _attach(self) -> None:
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(one["targetId"] for one in targets if one["type"] == "page")
        made = self.call("Target.attachToTarget", targetId=page, flatten=True)
        self._session = made["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.call(f"{domain}.enable")

    def _send(self, method: str, **parameters: Any) -> int:
        self._number += 1
        body = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            body["sessionId"] = self._session
        os.write(self._out, json.dumps(body).encode() + b"\0")
        return self._number

    def _read(self) -> None:
        """Take what comes, until the end."""
        for message in self._messages():
            with self._came:
                if "id" in message:
                    self._answers[message["id"]] = message
                    self._came.notify_all()
                else:
                    self._take(message["method"], message["params"])

    def _messages(self) -> Iterator[dict[str, Any]]:
        rest = b""
        with open(self._in, "rb", buffering=0) as stream:
            while piece := stream.read(1_000_000):
                *whole, rest = (rest + piece).split(b"\0")
                yield from map(json.loads, whole)

    def _take(self, method: str, body: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.errors.append(str(body["exceptionDetails"].get("exception", body))[:500])
        elif method == "Log.entryAdded" and body["entry"]["level"] == "error":
            self.errors.append(f"{body['entry']['text']} {body['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(body["request"]["url"])
