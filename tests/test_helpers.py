"""Helpers of the tests: waiting, a listener that catches up, ports, the order of the files."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deploy.broker import PORTS, PrivateBroker, free_port
from tests import conftest
from tests.conftest import Listener, wait_until
from tests.test_control import publish


def test_waiting_ends_with_the_condition_or_with_the_detail() -> None:
    """Two looks are enough for the one; the other fails with what it saw last."""
    looks = iter((False, True))
    wait_until(lambda: next(looks))
    assert next(looks, "none left") == "none left"
    with pytest.raises(AssertionError, match="what it saw"):
        wait_until(lambda: False, lambda: "what it saw", longest_s=0.0)


def test_a_listener_that_has_caught_up_lacks_nothing(broker: PrivateBroker) -> None:
    """Messages that the broker has accepted are there; its own markers are not."""
    listener = Listener(broker)
    try:
        for number in range(20):
            publish(broker, "edge/d/event", b"%d" % number)
        listener.catch_up()
        assert listener.lines == [f"edge/d/event {number}" for number in range(20)]
        assert [kind for kind, _, _ in listener.messages] == ["event"] * 20
    finally:
        listener.close()


def test_no_port_is_given_twice() -> None:
    """A broker that is stopped gets its port back: others of this process have other ports."""
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == 200
    assert set(ports) < set(PORTS)


def test_the_longest_files_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the list; the others stay as they are."""

    def item(name: str) -> Any:
        return SimpleNamespace(path=Path(f"tests/{name}.py"))

    monkeypatch.setattr(conftest, "LONGEST", ("test_z", "test_y"))
    items = [item(name) for name in ("test_b", "test_y", "test_a", "test_z")]
    conftest.pytest_collection_modifyitems(items)
    assert [one.path.stem for one in items] == ["test_z", "test_y", "test_b", "test_a"]
