"""The public contract: golden JSON, topics, QoS, retained flags, schemas."""

from __future__ import annotations

import dataclasses
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from msgspec.structs import replace

from edge.contract import (
    PAYLOADS,
    REQUESTS,
    SCHEMA,
    About,
    Agreement,
    CameraInfo,
    DriftFigures,
    GovernorFigures,
    ModelInfo,
    MotionFigures,
    PlugFigures,
    ShadowFigures,
    StageTimes,
    Thresholds,
    entities,
    entities_adaptive,
    homeassistant,
    schema,
)
from edge.contract.encode import Wire
from edge.daemon.identity import Identity
from edge.frames import LabelChange, Prediction
from edge.messages import Message
from tests.conftest import edge
from tests.figures import figures

GOLDEN = Path(__file__).parent / "golden"
NOW = 1_700_000_000.1234
PREDICTION = Prediction(42, 5_000_000_000, "dog", 0.98765, (0.01235, 0.98765), 2_500_000_000, False)


def make() -> Wire:
    """Return a wire at a fixed time."""
    return Wire("edge/wall", ("cat", "dog"), "cafe", lambda: NOW)


def test_state_is_this() -> None:
    """Retained, QoS 1; scores by label, durations in seconds."""
    message = make().state(PREDICTION)
    assert (message.topic, message.qos, message.retain) == ("edge/wall/state", 1, True)
    assert json.loads(message.payload) == {
        "seq": 1,
        "ts": 1700000000.123,
        "label": "dog",
        "score": 0.9877,
        "scores": {"cat": 0.0123, "dog": 0.9877},
        "since_s": 2.5,
        "partial": False,
        "frame": 42,
        "paused": False,
    }


def test_result_is_a_state_with_its_latency() -> None:
    """Not retained, QoS 0."""
    message = make().result(PREDICTION, 7_654_321)
    assert (message.topic, message.qos, message.retain) == ("edge/wall/result", 0, False)
    assert json.loads(message.payload)["latency_ms"] == 7.654


def test_an_event_has_an_id_of_its_own() -> None:
    """From the run and a count: the same event is known again, two are told apart."""
    wiring = make()
    change = LabelChange(5_000_000_000, "cat", None, 2_000_000_000, 0.41)
    first, second = wiring.label_changed(change, 7), wiring.label_changed(change, 8)
    assert (first.topic, first.qos, first.retain) == ("edge/wall/event", 1, False)
    assert json.loads(first.payload) == {
        "seq": 1,
        "ts": 1700000000.123,
        "id": "cafe-1",
        "type": "label_changed",
        "before": "cat",
        "after": None,
        "evidence": {"score": 0.41, "before_s": 2.0, "frame": 7},
    }
    assert json.loads(second.payload)["id"] == "cafe-2"


def test_availability_is_plain_text() -> None:
    """What Home Assistant and everybody else expects."""
    online, offline = make().availability(True), make().availability(False)
    assert (online.payload, offline.payload) == (b"online", b"offline")
    assert online.topic == offline.topic == "edge/wall/availability"
    assert online.retain
    assert offline.retain
    assert online.qos == offline.qos == 1


def test_schemas_are_valid_and_printed() -> None:
    """`edge schema` prints one for every topic; each is itself a valid schema."""
    printed = json.loads(edge("schema").stdout)
    assert printed == schema()
    requests = {f"request/{command}" for command in REQUESTS}
    assert set(printed) == {"availability", "response", *PAYLOADS, *requests}
    for one in printed.values():
        jsonschema.Draft202012Validator.check_schema(one)
    body = json.loads(make().state(PREDICTION).payload)
    jsonschema.validate(body, printed["state"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**body, "score": "high"}, printed["state"])


def every_message() -> dict[str, Message]:
    """Return one message of every kind, as this device makes it; more of what may be absent."""
    wiring = make()
    labels = ("cat", "dog", "neither")
    model = ModelInfo(
        name="catdog", version="2", sha256="ab" * 32, labels=("cat", "dog"),
        input_shape=(1, 224, 224, 3), input_dtype="uint8", runtime="ai_edge_litert 2.3.0",
        kind="int8", xnnpack=True, delegated_share=0.97, left_out=("QUANTIZE",), threads=4,
        golden="passed", input_from="card", head_sha256="cd" * 32,
    )  # fmt: skip
    about = About(
        schema=SCHEMA,
        device="wall",
        version="0.1.0",
        run="cafe",
        machine="Linux 6.12 aarch64",
        python="3.13.5",
        start_s=1.25,
        model=model,
        camera=CameraInfo(
            "picamera2",
            "picamera2:0",
            320,
            240,
            30.0,
            "i420",
            device="imx219",
            still=(640, 480),
            state="recovering",
            error="picamera2:0: no frame for 10 s",
        ),
        config={"device": {"id": "wall"}},
    )
    more = replace(
        about,
        model=replace(model, labels=labels, background=("neither",)),
        thresholds=Thresholds(0.5, "config", 0.5, "enter"),
    )
    announcement = partial(
        homeassistant.announce,
        prefix="homeassistant",
        base="edge/wall",
        device="wall",
        version="0.1.0",
        model="catdog",
        telemetry_interval_s=10.0,
        snapshots=True,
    )
    hour = Agreement(frames=120, agreement=0.95, smoothed_frames=110, smoothed_agreement=1.0)
    parts = {
        "plugs": PlugFigures(skipped_total={}, failed=()),
        "governor": GovernorFigures(
            frames_share=0.9, reason="temperature", lowest=False, machine_cpu_share=0.031,
            skipped_total=9,
        ),
        "motion": MotionFigures(
            closed=True, skipped_share=0.883, skipped_total=240,
            classified_total={"first": 1, "motion": 3, "settling": 25, "time": 11}, noise=2.01,
        ),
        "drift": DriftFigures(
            origin="bundle",
            reason="out of focus",
            since_s=412.0,
            psi={"brightness": 0.0, "sharpness": 2.66},
            samples=4803,
        ),
        "shadow": ShadowFigures(
            model="gate 2", state="working", running_s=412.0, frames_total=121, invalid_total=1,
            cpu_share=0.0981, time_ms=StageTimes(9.1, 9.9, 12.0, 30.5), memory_bytes=5_300_000,
            hour=hour, day=hour, total=hour,
            confusion={"cat": {"cat": 70, "dog": 6}, "dog": {"dog": 44}}, kept_total=2,
        ),
    }  # fmt: skip
    return {
        "availability": wiring.availability(online=True),
        "info": wiring.info(about),
        "info_background": make().info(more),
        "state": wiring.state(PREDICTION),
        "result": wiring.result(PREDICTION, 7_654_321),
        "event": wiring.event("changed", evidence={"smoothing.window": 5}),
        "telemetry": wiring.telemetry(figures()),
        "telemetry_parts": make().telemetry(dataclasses.replace(figures(), parts=parts)),
        "response": wiring.response("ping", "t1", data={"run": "cafe"}),
        "refusal": wiring.response("", None, error="unknown command: expected one of ping"),
        "claim": Identity("edge/wall", "wall", "cafe", "Linux 6.12 aarch64").claim(settled=True),
        "discovery": announcement(labels=("cat", "dog")),
        "discovery_background": announcement(labels=labels, background=("neither",)),
        "discovery_drift": announcement(labels=("cat", "dog"), more=entities.DRIFT),
        "discovery_page": announcement(labels=("cat", "dog"), page="http://porch.local:8080/"),
        "discovery_adaptive": announcement(
            labels=("cat", "dog"), more=(*entities_adaptive.MOTION, *entities_adaptive.GOVERNOR)
        ),
        "discovery_shadow": announcement(labels=("cat", "dog"), more=entities.SHADOW),
    }  # fmt: skip


@pytest.mark.parametrize("kind", every_message())
def test_every_payload_is_its_golden_file(kind: str) -> None:
    """A change of the contract is a change of a file here; EDGE_GOLDEN=write writes them."""
    message = every_message()[kind]
    told: dict[str, Any] = {"topic": message.topic, "qos": message.qos, "retain": message.retain}
    is_json = message.payload[:1] == b"{"
    told["payload"] = json.loads(message.payload) if is_json else message.payload.decode()
    compare(told, GOLDEN / f"{kind}.json")


def test_the_schemas_are_their_golden_file() -> None:
    """The same of what `edge schema` prints."""
    compare(schema(), GOLDEN / "schema.json")


def compare(made: Any, file: Path) -> None:
    """Compare with a golden file."""
    if os.environ.get("EDGE_GOLDEN") == "write":
        file.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")
    assert json.loads(file.read_text()) == json.loads(json.dumps(made))
