"""A headless Chromium as a person uses it: real keys, a real mouse, what is seen."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any, Final

from deploy.devtools import LONGEST_S, DevTools

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


class Browser(DevTools):
    """One page in a browser of its own."""

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

    def drop(self, place: tuple[float, float], *files: Path) -> None:
        """Drop files on the page."""
        content = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        x, y = place
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=content)

    def hide(self, *, hidden: bool) -> None:
        """Minimise the window, or show it again."""
        window = self.call("Browser.getWindowForTarget")["windowId"]
        state = {"windowState": "minimized" if hidden else "normal"}
        self.call("Browser.setWindowBounds", windowId=window, bounds=state)
        self.wait(f"document.hidden === {json.dumps(hidden)}")

    def tab(self, selector: str, most: int = 200) -> None:
        """Press Tab until an element has the focus."""
        place = json.dumps(selector)
        for _ in range(most):
            if self.run(f"document.activeElement.matches({place})"):
                return
            self.key("Tab")
        raise AssertionError(f"Tab does not lead to {selector}")

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
