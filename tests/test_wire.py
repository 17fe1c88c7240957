"""The public contract: golden JSON, topics, QoS, retained flags, schemas."""

from __future__ import annotations

import json

import jsonschema
import pytest

from edge.payloads import PAYLOADS, schema
from edge.types import LabelChange, Prediction
from edge.wire import Wire
from tests.conftest import edge

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
    assert set(printed) == {"availability", *PAYLOADS}
    for one in printed.values():
        jsonschema.Draft202012Validator.check_schema(one)
    body = json.loads(make().state(PREDICTION).payload)
    jsonschema.validate(body, printed["state"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**body, "score": "high"}, printed["state"])
