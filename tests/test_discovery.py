"""The announcement to Home Assistant: keys, and templates rendered on this daemon's payloads."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.sandbox import SandboxedEnvironment

from edge.contract import (
    Agreement,
    GovernorFigures,
    MotionFigures,
    ShadowFigures,
    StageTimes,
    entities,
    entities_adaptive,
    homeassistant,
)
from edge.contract.encode import Wire
from edge.contract.entities import TELEMETRY as TELEMETRY_TOPIC
from edge.contract.entities import Entity
from edge.frames import Prediction
from tests.figures import figures

WIRE = Wire("edge/wall", ("cat", "dog"), "cafe", lambda: 1.0)
TELEMETRY: dict[str, Any] = {
    "fps": 29.9, "stages_ms": {"latency": StageTimes(1.0, 2.0, 3.5, 4.0)},
    "pss_bytes": 61_000_000, "temperature_celsius": 51.5, "throttled_bits": 0x50005,
}  # fmt: skip
COMMON = {"platform", "name", "unique_id", "icon", "entity_category"}
KEYS = {
    "sensor": COMMON
    | {"state_topic", "value_template", "device_class", "options", "state_class", "expire_after"}
    | {"unit_of_measurement", "suggested_display_precision", "suggested_unit_of_measurement"},
    "binary_sensor": COMMON | {"state_topic", "value_template", "device_class", "expire_after"},
    "switch": COMMON
    | {"state_topic", "value_template", "command_topic", "payload_on", "payload_off"}
    | {"state_on", "state_off"},
    "image": COMMON | {"image_topic", "content_type"},
    "button": COMMON | {"command_topic", "payload_press"},
}
"""Platform -> keys it may have. Source: Home Assistant's documentation of each platform."""
UNITS = {"duration": "ms", "temperature": "°C", "data_size": "B"}


def announced(
    labels: tuple[str, ...] = ("cat", "dog"),
    device: str = "wall",
    background: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Return the announcement, decoded."""
    message = homeassistant.announce(
        prefix="homeassistant", base=f"edge/{device}", device=device, version="1", labels=labels,
        model="catdog", telemetry_interval_s=10.0, snapshots=True,
        background=background,
    )  # fmt: skip
    assert (message.qos, message.retain) == (1, True)
    return dict(json.loads(message.payload), topic=message.topic)


def render(component: dict[str, Any], payload: bytes) -> str:
    """Return what Home Assistant makes of a payload."""
    environment = SandboxedEnvironment()
    environment.filters["bitwise_and"] = lambda a, b: a & b
    value = json.loads(payload)
    return environment.from_string(component["value_template"]).render(value_json=value)


def state(label: str | None, **more: Any) -> bytes:
    """Return a state."""
    return WIRE.state(Prediction(1, 9, label, 0.9312, (0.0688, 0.9312), 9, False), **more).payload


def telemetry(**changes: Any) -> bytes:
    """Return telemetry."""
    return WIRE.telemetry(figures(**(TELEMETRY | changes))).payload


@pytest.mark.parametrize(
    ("name", "payload", "shown"),
    [
        ("label", state("dog"), "dog"),
        ("label", state(None), "None"),
        ("score", state("dog"), "93.1"),
        ("class_0", state("dog"), "OFF"),
        ("class_1", state("dog"), "ON"),
        ("class_1", state(None), "OFF"),
        ("pause", state("dog", paused=True), "ON"),
        ("pause", state("dog"), "OFF"),
        ("pause", b"{}", "OFF"),
        ("fps", telemetry(), "29.9"),
        ("latency_p99", telemetry(), "3.5"),
        ("latency_p99", telemetry(stages_ms={}), "None"),
        ("temperature", telemetry(), "51.5"),
        ("temperature", telemetry(temperature_celsius=None), "None"),
        ("memory", telemetry(), "61000000"),
        ("throttled", telemetry(), "ON"),
        ("throttled", telemetry(throttled_bits=0x50000), "OFF"),
        ("throttled", telemetry(throttled_bits=None), "None"),
        ("camera", telemetry(), "OFF"),
        ("camera", telemetry(camera_problem=True), "ON"),
        ("camera", b"{}", "OFF"),
        ("latency_p99", b"{}", "None"),
        ("label", b"{}", "None"),
    ],
)
def test_entities_show_what_the_daemon_publishes(name: str, payload: bytes, shown: str) -> None:
    """Values, nulls, and fields that an older daemon does not send."""
    assert render(announced()["components"][name], payload) == shown


def test_every_component_has_the_keys_of_its_platform() -> None:
    """Nothing that Home Assistant does not know; units as the device class wants them."""
    for component in announced()["components"].values():
        assert set(component) <= KEYS[component["platform"]], component
        if component.get("device_class") in UNITS:
            assert component["unit_of_measurement"] == UNITS[component["device_class"]]
        if component.get("device_class") == "enum":
            assert "state_class" not in component
            assert component["options"] == ["cat", "dog"]


@given(st.lists(st.text(min_size=1, max_size=9), min_size=2, max_size=10, unique=True), st.data())
def test_a_background_label_is_a_value_and_no_entity(
    labels: list[str], data: st.DataObject
) -> None:
    """Whatever it is called; the others keep their ids, and are off for it."""
    background = tuple(data.draw(st.lists(st.sampled_from(labels), max_size=len(labels) - 1)))
    components = announced(tuple(labels), background=background)["components"]
    for number, label in enumerate(labels):
        assert (f"class_{number}" in components) == (label not in background)
    assert components["label"]["options"] == labels
    payload = json.dumps({"label": background[0] if background else None}).encode()
    sensors = [components[key] for key in components if key.startswith("class_")]
    assert sensors
    assert {render(sensor, payload) for sensor in sensors} == {"OFF"}
    every = announced(tuple(labels))["components"]
    assert all(components[key] == every[key] for key in components)


def test_topics_are_this_devices_own_and_ids_are_unique() -> None:
    """State, telemetry, snapshot and requests below its base."""
    body = announced()
    topics = {v for c in body["components"].values() for k, v in c.items() if k.endswith("_topic")}
    topics.add(body["availability_topic"])
    assert all(topic.startswith("edge/wall/") for topic in topics)
    ids = [component["unique_id"] for component in body["components"].values()]
    assert len(set(ids)) == len(ids)
    assert body["topic"] == "homeassistant/device/wall/config"
    removal = homeassistant.remove("homeassistant", "wall")
    assert (removal.topic, removal.payload, removal.retain) == (body["topic"], b"", True)


def test_a_room_adds_its_entities_as_rows() -> None:
    """Its topics become this device's own; what reads telemetry expires with it, no other."""
    drift = Entity(
        "drift", "sensor", "Drift", {"state_topic": TELEMETRY_TOPIC, "value_template": "{{ 1 }}"}
    )
    cases = Entity("cases", "sensor", "Cases", {"state_topic": "~/cases"})
    message = homeassistant.announce(
        prefix="homeassistant", base="edge/wall", device="wall", version="1", labels=("cat", "dog"),
        model="catdog", telemetry_interval_s=20.0, snapshots=False, more=(drift, cases),
    )  # fmt: skip
    components = json.loads(message.payload)["components"]
    assert list(components)[-2:] == ["drift", "cases"]
    assert components["drift"] == {
        "platform": "sensor",
        "name": "Drift",
        "state_topic": "edge/wall/telemetry",
        "expire_after": 60,
        "value_template": "{{ 1 }}",
        "unique_id": "wall_drift",
    }
    assert components["cases"]["state_topic"] == "edge/wall/cases"
    assert "expire_after" not in components["cases"]


def test_what_the_gates_skip_is_shown() -> None:
    """Unknown where the gate is off."""
    message = homeassistant.announce(
        prefix="homeassistant", base="edge/wall", device="wall", version="1", labels=("cat", "dog"),
        model="catdog", telemetry_interval_s=20.0, snapshots=False,
        more=(*entities_adaptive.MOTION, *entities_adaptive.GOVERNOR),
    )  # fmt: skip
    components = json.loads(message.payload)["components"]

    def shown(**parts: object) -> list[str]:
        telemetry = WIRE.telemetry(dataclasses.replace(figures(), parts=parts)).payload
        keys = ("skipped", "frames_share", "rate_lowered")
        assert all(set(components[key]) <= KEYS[components[key]["platform"]] for key in keys)
        return [render(components[key], telemetry) for key in keys]

    motion = MotionFigures(
        closed=True, skipped_share=0.8834, skipped_total=9, classified_total={}, noise=2.0
    )
    hot = GovernorFigures(
        frames_share=0.6, reason="temperature", lowest=False, machine_cpu_share=0.1, skipped_total=1
    )
    assert shown(motion=motion, governor=hot) == ["88.3", "60.0", "ON"]
    cool = msgspec.structs.replace(hot, frames_share=1.0, reason="")
    assert shown(governor=cool) == ["None", "100.0", "OFF"]
    assert shown() == ["None", "None", "None"]


def test_the_agreement_of_a_shadow_is_a_sensor() -> None:
    """Unknown while it is loaded, without frames in the last hour, and once it is gone."""
    message = homeassistant.announce(
        prefix="homeassistant", base="edge/wall", device="wall", version="1", labels=("cat", "dog"),
        model="catdog", telemetry_interval_s=20.0, snapshots=False, more=entities.SHADOW,
    )  # fmt: skip
    component = json.loads(message.payload)["components"]["shadow_agreement"]
    assert set(component) <= KEYS["sensor"]

    def shown(shadow: ShadowFigures | None) -> str:
        parts = {"shadow": shadow} if shadow else {}
        return render(
            component, WIRE.telemetry(dataclasses.replace(figures(), parts=parts)).payload
        )

    def agreed(share: float | None) -> ShadowFigures:
        hour = Agreement(frames=8, agreement=share, smoothed_frames=0, smoothed_agreement=None)
        return ShadowFigures(model="gate 2", state="working", hour=hour)

    assert shown(agreed(0.9375)) == "93.8"
    assert shown(agreed(0.0)) == "0.0"
    assert shown(agreed(None)) == "None"
    assert shown(ShadowFigures(model="gate", state="loading")) == "None"
    assert shown(None) == "None"


def test_two_devices_never_share_a_name() -> None:
    """Home Assistant allows no dots; what replaces them replaces nothing else."""
    names = ["a.b", "a_b", "a-b", "a_2Eb", "a_5F2Eb", "a__2Eb", "a.2Eb", "a_.b", "a._b", "a_5Fb"]
    made = [homeassistant.object_id(name) for name in names]
    assert len(set(made)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", name) for name in made)


@given(st.text(min_size=1, max_size=30))
def test_no_label_leaves_its_quotes(label: str) -> None:
    """Quotes, braces, backslashes: on for this label, off for another, and never a template."""
    component = announced((label, label + "x"))["components"]["class_0"]
    mine, other = (json.dumps({"label": text}).encode() for text in (label, label + "x"))
    assert (render(component, mine), render(component, other)) == ("ON", "OFF")
    inner = component["value_template"].removeprefix("{{ '").removesuffix(" }}")
    assert "{{" not in inner
    assert "}}" not in inner
