"""What a subscriber is told of this device: the retained topics, and how old they are. Pure."""

from __future__ import annotations

from typing import Any, Final

from edge import __version__, contract
from edge.config import Config
from edge.doctor.checks import Check, Findings, lasted
from edge.doctor.service import RESTART, Unit

TOPICS: Final = ("availability", "info", "state")
STALE: Final = 3
"""Heartbeats that are missing."""
GRACE_S: Final = 5.0


def check(
    device: str, kept: dict[str, bytes] | None, config: Config, unit: Unit, now_s: float
) -> Check:
    """Judge what the broker keeps.

    device  what its topics begin with
    kept    None where the broker could not be asked
    """
    found = Findings("published")
    found.facts["topics"] = device
    if kept is None:
        found.wrong("unknown", "the broker could not be asked")
        return found.check()
    if not kept:
        what = f"the broker keeps nothing under {device}"
        hint = "is it another device.id or base_topic than the daemon's? may this login read it?"
        found.wrong("fault" if unit.running else "unknown", what, hint)
        return found.check()
    online = kept.get(f"{device}/availability") == b"online"
    found.facts["online"] = online
    if online:
        found.say(f"{device} online")
    else:
        hint = "see `events`: is it connected?" if unit.running else "start it: see `service`"
        found.wrong("fault", f"{device} is offline", hint)
    hidden = [topic for topic in TOPICS[1:] if f"{device}/{topic}" not in kept]
    told = _decoded(found, "info", kept.get(f"{device}/info"))
    if told:
        _info(found, told, online)
    state = _decoded(found, "state", kept.get(f"{device}/state"))
    if state:
        _state(found, state, config.publish.state_interval_s, now_s, online)
    if len(hidden) == len(TOPICS) - 1:
        hint = "give it `pattern read edge/%u/info` and the same of state, or log in as a watcher"
        found.wrong("unknown", "this login may not read info and state", hint)
    elif hidden and online:
        hint = "see `camera` and `events`"
        found.wrong("warning", f"no {hidden[0]}: nothing has been classified lately", hint)
    return found.check()


def _decoded(found: Findings, topic: str, payload: bytes | None) -> dict[str, Any]:
    if not payload:
        return {}
    try:
        return dict(contract.decode(topic, payload))
    except (ValueError, RecursionError):
        found.wrong("warning", f"{topic} is not what this version understands", RESTART)
        return {}


def _info(found: Findings, told: dict[str, Any], online: bool) -> None:
    camera = told["camera"]
    found.facts |= {"version": told["version"], "run": told["run"], "camera": camera["state"]}
    if told["version"] != __version__:
        what = f"{told['version']} runs, {__version__} is installed"
        found.wrong("warning", what, RESTART)
    else:
        found.say(f"version {told['version']}")
    if camera["state"] != "online" and online:
        what = f"its camera is {camera['state']}: {camera['error'] or 'no reason given'}"
        found.wrong("fault", what, "see `camera`")
    else:
        found.say(f"{camera['driver']} {camera['width']}x{camera['height']}")


def _state(
    found: Findings, state: dict[str, Any], interval_s: float, now_s: float, online: bool
) -> None:
    age_s = now_s - state["ts"]
    found.facts |= {"state_age_s": round(age_s, 1), "label": state["label"]}
    found.facts["paused"] = state["paused"]
    label = f"{state['label'] or 'nothing certain'} {state['score']:.2f}"
    if state["paused"]:
        found.wrong("warning", "paused by request", "ask it to `resume`")
    elif online and age_s > STALE * interval_s + GRACE_S:
        found.wrong("warning", f"state is {lasted(age_s)} old", "see `camera` and `events`")
    found.say(f"{label}, {lasted(age_s)} ago")
