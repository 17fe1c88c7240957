"""A model with a thousand labels: small messages, the best scores, one entity."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.contract import homeassistant, schema
from edge.contract.encode import Wire
from edge.frames import Prediction
from tests.conftest import ROOT, Daemon, Listener
from tests.test_control import publish

BIG = ROOT / "tests" / "cases" / "models" / "big" / "m.tflite"
TOTAL = 1001
LABELS = tuple(f"class number {n}" for n in range(TOTAL))


def prediction(scores: tuple[float, ...], label: str | None = None) -> Prediction:
    """Return a prediction; its label, if any, has a score of 0.5."""
    return Prediction(1, 9, label, 0.5 if label else max(scores), scores, 9, False)


def scores(labels: tuple[str, ...], values: tuple[float, ...], label: str | None, k: int) -> Any:
    """Return the scores of a state, as they are published."""
    wire = Wire("edge/wall", labels, "cafe", lambda: 1.0)
    return json.loads(wire.state(prediction(values, label), False, k).payload)["scores"]


def test_of_many_labels_the_best_are_published() -> None:
    """Best first; with the score of the label that is still in force."""
    values = [0.0] * TOTAL
    values[7], values[1000], values[3] = 0.5, 0.3, 0.2
    best = {"class number 7": 0.5, "class number 1000": 0.3, "class number 3": 0.2}
    found = scores(LABELS, tuple(values), None, 3)
    assert list(found.items()) == list(best.items())
    assert scores(LABELS, tuple(values), "class number 1000", 3) == best
    assert scores(LABELS, tuple(values), "class number 9", 2) == {
        "class number 7": 0.5,
        "class number 1000": 0.3,
        "class number 9": 0.5,
    }


@pytest.mark.parametrize(("total", "shown"), [(2, 2), (10, 10), (11, 3), (12, 3)])
def test_of_few_labels_all_are_published_in_their_order(total: int, shown: int) -> None:
    """Up to ten; then as many as `publish.top_k` says."""
    values = tuple(n / 100 for n in range(total))
    found = scores(LABELS[:total], values, None, 3)
    assert len(found) == shown
    if total == shown:
        assert list(found) == list(LABELS[:total])


@given(st.lists(st.floats(0, 1), min_size=11, max_size=40), st.integers(1, 100))
def test_what_is_left_out_is_never_better(values: list[float], k: int) -> None:
    """For any scores and any number of them."""
    found = scores(LABELS[: len(values)], tuple(values), None, k)
    assert len(found) == min(k, len(values))
    assert sorted(found.values(), reverse=True) == list(found.values())
    left = [round(v, 4) for n, v in enumerate(values) if LABELS[n] not in found]
    assert not left or max(left) <= min(found.values())


def announced(labels: tuple[str, ...]) -> tuple[int, dict[str, Any]]:
    """Return the announcement's bytes, and its components."""
    message = homeassistant.announce(
        prefix="homeassistant", base="edge/wall", device="wall", version="1", labels=labels,
        model="m", telemetry_interval_s=10.0, snapshots=True,
    )  # fmt: skip
    return len(message.payload), json.loads(message.payload)["components"]


@pytest.mark.parametrize(
    ("labels", "listed"),
    [
        (LABELS[:10], True),
        (LABELS[:11], False),
        (LABELS, False),
        (tuple("é" * 250 + str(n) for n in range(10)), False),
        (tuple('"' * 255 for _ in range(1)), True),
    ],
)
def test_the_announcement_stays_small(labels: tuple[str, ...], listed: bool) -> None:
    """A binary sensor for each label only if they are few and short; 235 kB was one message."""
    size, components = announced(labels)
    assert size < 16_000
    assert sum(name.startswith("class_") for name in components) == (len(labels) if listed else 0)
    assert ("options" in components["label"]) == listed
    assert ("device_class" in components["label"]) == listed


def answers(listener: Listener) -> list[Any]:
    """Return the responses to `set`, which come on a topic of the request's name."""
    found = [json.loads(body) for kind, body, _ in list(listener.messages) if kind == "set"]
    return [body for body in found if "status" in body]


def test_a_thousand_labels_in_the_daemon(
    broker: Any, listen: Callable[[], Listener], daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    """States of 300 bytes as the schema says; `set` changes how many scores are in them."""
    shutil.copy(BIG, tmp_path)
    (tmp_path / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS))
    listener = listen()
    running = daemon(
        config=f'device.id = "d"\ncamera.source = "synthetic"\nmqtt.port = {broker.port}\n'
        f'model.path = "{tmp_path / BIG.name}"\npublish.state_interval_s = 0.2\n'
    )
    listener.wait_for(lambda: len(listener.bodies("state")) > 1)
    body = listener.bodies("state")[-1]
    assert len(body) < 500
    jsonschema.validate(json.loads(body), schema()["state"])
    assert len(json.loads(body)["scores"]) == 5
    assert len(listener.payloads("info")[-1]["model"]["labels"]) == TOTAL
    publish(broker, "edge/d/request/set", b'{"publish": {"top_k": 2}}')
    listener.wait_for(lambda: len(listener.payloads("state")[-1]["scores"]) == 2)
    publish(broker, "edge/d/request/set", b'{"publish": {"top_k": 0}}')
    listener.wait_for(lambda: len(answers(listener)) == 2)
    assert "publish.top_k: wrong value: expected int >= 1, got 0" in answers(listener)[1]["error"]
    assert running.stop() == 0
