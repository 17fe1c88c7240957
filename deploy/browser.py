"""A headless Chromium, driven by the DevTools protocol over a pipe: real keys, a real mouse.

Needs Debian's `chromium` and nothing else. Source: chromedevtools.github.io/devtools-protocol, and
Chromium's --remote-debugging-pipe: messages are JSON, each ended by a zero byte, on descriptors 3
and 4.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import threading
import time
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
PHONE: Final = (390, 844)
DESK: Final = (1280, 800)
SHIFT, CTRL = 8, 2
CODES: Final = {
    "Enter": 13,
    "Escape": 27,
    " ": 32,
    "Tab": 9,
    "Delete": 46,
    "Backspace": 8,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "Home": 36,
    "End": 35,
}
PLACE: Final = """
(async () => {
  const look = () => {
    const element = document.querySelector(SELECTOR);
    element?.scrollIntoView({block: "center", behavior: "instant"});
    const box = element?.getBoundingClientRect();
    return box?.width ? [box.x + box.width / 2, box.y + box.height / 2] : null;
  };
  const before = look();
  await new Promise((resolve) => setTimeout(resolve, 50));
  const after = look();
  return before && after && before.join() === after.join() ? after : null;
})()
"""
PRESS: Final = """
(() => {
  document.querySelector("[data-press]")?.removeAttribute("data-press");
  const one = [...document.querySelectorAll(PLACE)].find(
    (one) => one.innerText.trim() === WORDS && one.offsetParent && !one.disabled);
  one?.setAttribute("data-press", "");
  return Boolean(one);
})()
"""
TEXTS: Final = {"Enter": "\r", " ": " "}


class Browser:
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

    def run(self, script: str) -> Any:
        """Return what an expression gives; a promise is awaited."""
        made = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in made, f"{script}: {made['exceptionDetails']}"
        return made["result"].get("value")

    def wait(self, script: str, longest_s: float = LONGEST_S) -> Any:
        """Return what an expression gives once it is true, as JavaScript has it."""
        until_s = time.monotonic() + longest_s
        while (found := self.run(script)) in (None, False, 0, ""):  # an element comes as {}
            assert time.monotonic() < until_s, f"{script}\n{self.text()}\n{self.errors}"
            time.sleep(0.05)
        return found

    def go(self, address: str) -> None:
        """Load a page."""
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'")

    def text(self, selector: str = "body") -> str:
        """Return the text that an element shows."""
        return str(self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def sees(self, text: str, selector: str = "body", longest_s: float = LONGEST_S) -> None:
        """Return once an element shows a text."""
        place = json.dumps(selector)
        script = f"document.querySelector({place})?.innerText.includes({json.dumps(text)})"
        self.wait(script, longest_s)

    def size(self, width: int, height: int, *, phone: bool = False, scale: float = 1) -> None:
        """Change the size of the window; a phone has a touch screen."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=phone,
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)

    def scheme(self, name: str) -> None:
        """Prefer dark or light."""
        features = [
            {"name": "prefers-color-scheme", "value": name},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.call("Emulation.setEmulatedMedia", features=features)

    def picture(self, *, whole: bool = False, kind: str = "png") -> bytes:
        """Return a picture of the window, or of the whole page."""
        quality = {"quality": 80} if kind != "png" else {}
        made = self.call(
            "Page.captureScreenshot", format=kind, captureBeyondViewport=whole, **quality
        )
        return base64.b64decode(made["data"])

    def place(self, selector: str) -> tuple[float, float]:
        """Return the middle of an element, scrolled into view, once it stands still."""
        x, y = self.wait(PLACE.replace("SELECTOR", json.dumps(selector)))
        return x, y

    def click(self, selector: str, modifiers: int = 0) -> None:
        """Click on an element with the mouse."""
        place = self.place(selector)
        self.mouse("mousePressed", *place, modifiers)
        self.mouse("mouseReleased", *place, modifiers)

    def press(self, text: str, within: str = "body") -> None:
        """Click on the button that shows this text, once there is one that can be pressed."""
        place, words = json.dumps(f"{within} button"), json.dumps(text)
        self.wait(PRESS.replace("PLACE", place).replace("WORDS", words))
        self.click("[data-press]")

    def fill(self, field: str, text: str) -> None:
        """Type a text into the field of this id, instead of what is there."""
        self.click(f"#{field}")
        self.run(f"document.getElementById({json.dumps(field)}).select()")
        self.write(text)

    def mouse(self, kind: str, x: float, y: float, modifiers: int = 0) -> None:
        """Send one event of the mouse."""
        button = {"button": "left", "buttons": 0 if kind == "mouseReleased" else 1, "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, modifiers=modifiers, **button)

    def drag(self, begin: tuple[float, float], end: tuple[float, float]) -> None:
        """Move the mouse with its button pressed."""
        self.mouse("mousePressed", *begin)
        for step in range(1, 6):
            share = step / 5
            x, y = (begin[i] + (end[i] - begin[i]) * share for i in (0, 1))
            self.mouse("mouseMoved", x, y)
        self.mouse("mouseReleased", *end)

    def key(self, name: str, modifiers: int = 0) -> None:
        """Press a key: a character, or a name such as Enter."""
        code = CODES.get(name) or ord(name.upper())
        text = TEXTS.get(name, name if len(name) == 1 and not modifiers & CTRL else "")
        event = {"key": name, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        if name in ("Enter", "Tab", "Escape"):
            event["code"] = name
        down = {"type": "keyDown" if text else "rawKeyDown", **event}
        self.call("Input.dispatchKeyEvent", **down, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    def write(self, text: str) -> None:
        """Type a text into what has the focus."""
        self.call("Input.insertText", text=text)

    def choose(self, selector: str, *files: Path) -> None:
        """Choose files for an input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

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
