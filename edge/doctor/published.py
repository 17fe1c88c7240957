"""Checks what a subscriber sees of this device: the retained topics and their age. Pure."""

from __future__ import annotations

from typing import Any, Final

from edge import __version__, contract
from edge.config import Config
from edge.doctor.checks import Check, Findings, lasted
from edge.doctor.service import RESTART, Unit

TOPICS: Final = ("availability", "info", "state")
STALE: Final = 3
"""Missed heartbeats after which the state counts as stale."""
GRACE_S: Final = 5.0


def check(
    device: str,
    kept: dict[str, bytes] | None,
    config: Config,
    unit: Unit,
    now_s: float,
    nodes: int = 1,
) -> Check:
    """Judge the retained topics.

    device  the beginning of its topics
    kept    topic -> payload; None if the broker could not be reached
    nodes   of the broker: in a cluster of RabbitMQ only the device's own retains its messages
    """
    findings = Findings("published")
    findings.facts["topics"] = device
    if kept is None:
        findings.wrong("unknown", "the broker could not be reached: see `broker`")
        return findings.check()
    if not kept:
        what = f"the broker retains nothing under {device}"
        hint = "check device.id, mqtt.base_topic and this login's right to read"
        if nodes > 1:
            hint += "; a node of a cluster may retain only what came to it: docs/brokers.md"
        certain = unit.running and nodes == 1
        findings.wrong("fault" if certain else "unknown", what, hint)
        return findings.check()
    online = kept.get(f"{device}/availability") == b"online"
    findings.facts["online"] = online
    if online:
        findings.say(f"{device} online")
    else:
        hint = "see `events`: is it connected?" if unit.running else "start it: see `service`"
        findings.wrong("fault", f"{device} is offline", hint)
    hidden = [topic for topic in TOPICS[1:] if f"{device}/{topic}" not in kept]
    info = _decoded(findings, "info", kept.get(f"{device}/info"))
    if info:
        _info(findings, info, online)
    state = _decoded(findings, "state", kept.get(f"{device}/state"))
    if state:
        _state(findings, state, config.publish.state_interval_s, now_s, online)
    if len(hidden) == len(TOPICS) - 1:
        hint = "give it `pattern read edge/%u/info` and the same for state"
        findings.wrong("unknown", "this login may not read info and state", hint)
    elif hidden and online:
        hint = "see `camera` and `events`"
        findings.wrong("warning", f"no {hidden[0]}: nothing has been classified lately", hint)
    return findings.check()


def _decoded(findings: Findings, topic: str, payload: bytes | None) -> dict[str, Any]:
    if not payload:
        return {}
    try:
        return dict(contract.decode(topic, payload))
    except (ValueError, RecursionError):
        findings.wrong("warning", f"{topic} is not what this version expects", RESTART)
        return {}


def _info(findings: Findings, info: dict[str, Any], online: bool) -> None:
    camera = info["camera"]
    findings.facts |= {"version": info["version"], "run": info["run"], "camera": camera["state"]}
    if info["version"] != __version__:
        what = f"{info['version']} runs, {__version__} is installed"
        findings.wrong("warning", what, RESTART)
    else:
        findings.say(f"version {info['version']}")
    if camera["state"] != "online" and online:
        what = f"its camera is {camera['state']}: {camera['error'] or 'no reason given'}"
        findings.wrong("fault", what, "see `camera`")
    else:
        findings.say(f"{camera['driver']} {camera['width']}x{camera['height']}")


def _state(
    findings: Findings, state: dict[str, Any], interval_s: float, now_s: float, online: bool
) -> None:
    age_s = now_s - state["ts"]
    findings.facts |= {"state_age_s": round(age_s, 1), "label": state["label"]}
    findings.facts["paused"] = state["paused"]
    label = f"{state['label'] or 'uncertain'} {state['score']:.2f}"
    if state["paused"]:
        findings.wrong("warning", "paused by request", "send the request `resume`")
    elif online and age_s > STALE * interval_s + GRACE_S:
        findings.wrong("warning", f"state is {lasted(age_s)} old", "see `camera` and `events`")
    findings.say(f"{label}, {lasted(age_s)} ago")
