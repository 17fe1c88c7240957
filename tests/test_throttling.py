"""Events of a Pi's throttling: when they begin, when they end, and how many there are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.broker import PrivateBroker
from edge.contract import decode
from edge.telemetry import Firmware, Throttled, Throttling
from tests.conftest import Daemon, Listener

UNDER_VOLTAGE, CAPPED, THROTTLED, HOT = 1, 2, 4, 8
FILE = "devices/platform/soc/soc:firmware/get_throttled"


def changes(*readings: tuple[float, int]) -> list[tuple[float, Throttled]]:
    """Return the changes that readings, (time, bits), make, each with its time."""
    throttling = Throttling()
    seen = ((now_s, throttling.update(bits, now_s)) for now_s, bits in readings)
    return [(now_s, change) for now_s, change in seen if change is not None]


def test_it_begins_at_once_and_ends_after_a_minute_without() -> None:
    """The duration is that of the throttling, not of the wait for its end."""
    made = changes((0, 0), (5, 5), (10, 4), (15, 0), (60, 0), (69, 0), (70, 0), (200, 0))
    assert made == [
        (5, Throttled(False, ("under_voltage", "throttled"))),
        (70, Throttled(True, ("under_voltage", "throttled"), 5.0)),
    ]


def test_a_further_reason_is_reported_once() -> None:
    """A reason that comes and goes within the episode is not."""
    made = changes((0, UNDER_VOLTAGE), (5, HOT), (10, UNDER_VOLTAGE), (15, HOT | UNDER_VOLTAGE))
    assert [change.reasons for _, change in made] == [
        ("under_voltage",),
        ("soft_temperature_limit",),
    ]


def test_what_was_before_the_first_reading_is_no_event() -> None:
    """The bits since boot stay set until the next one."""
    assert changes((0, 0x50000), (5, 0x50000), (500, 0x50000)) == []


def test_a_dip_between_two_readings_is_seen() -> None:
    """The firmware remembers that it was, not when."""
    made = changes((0, 0x40000), (5, 0x50000), (10, 0x50000), (65, 0x50000))
    assert [(now_s, change.ended, change.reasons) for now_s, change in made] == [
        (5, False, ("under_voltage",)),
        (65, True, ("under_voltage",)),
    ]


@pytest.mark.parametrize("period_s", [5, 10, 61, 65, 130, 500, 1000, 3599, 3605, 7200])
def test_a_bit_that_flickers_for_a_week_is_no_flood(period_s: int) -> None:
    """Whatever its period: some events until the quiet time has grown, then two an hour."""
    week_s = 7 * 86_400
    readings = [(float(t), THROTTLED if t % period_s < 5 else 0) for t in range(0, week_s, 5)]
    made = changes(*readings)
    later = [now_s for now_s, _ in made if now_s > 12 * 3600]
    assert len(made) - len(later) <= 24
    assert len(later) <= 2 * week_s / 3600
    assert made


def test_after_a_long_time_without_it_a_minute_is_enough_again() -> None:
    """The quiet time grows only while it comes again and again."""
    soon = changes((0, 1), (60, 0), (100, 1), (160, 0), (220, 0))
    late = changes((0, 1), (60, 0), (4000, 1), (4060, 0))
    assert [now_s for now_s, change in soon if change.ended] == [60, 220]
    assert [now_s for now_s, change in late if change.ended] == [60, 4060]


@given(st.lists(st.tuples(st.integers(1, 4000), st.integers(0, 0xFFFFF)), max_size=60))
def test_begins_and_ends_alternate(steps: list[tuple[int, int]]) -> None:
    """Whatever the firmware says: an end names what has begun since the last one, each once."""
    now_s, open_reasons, throttling = 0, list[str](), Throttling()
    for step_s, bits in steps:
        now_s += step_s
        change = throttling.update(bits, now_s)
        if change is None:
            continue
        if change.ended:
            assert sorted(change.reasons) == sorted(open_reasons)
            open_reasons = []
        else:
            assert not set(change.reasons) & set(open_reasons)
            open_reasons += change.reasons
        assert change.reasons


@pytest.mark.parametrize("content", ["", "under-voltage", "0x", "\0", "5000G5"])
def test_a_firmware_that_says_something_else_is_none(tmp_path: Path, content: str) -> None:
    """No figure instead of a wrong one."""
    file = tmp_path / FILE
    file.parent.mkdir(parents=True)
    file.write_text(content)
    firmware = Firmware(tmp_path)
    assert firmware.present
    assert firmware.throttled_bits() is None
    file.unlink()
    assert firmware.throttled_bits() is None
    assert not Firmware(tmp_path / "elsewhere").present


def write(sys: Path, bits: int) -> None:
    """Write what the firmware says, whole."""
    (sys / FILE).parent.mkdir(parents=True, exist_ok=True)
    (sys / "new").write_text(f"{bits:x}\n")
    os.replace(sys / "new", sys / FILE)


def test_the_daemon_publishes_what_the_firmware_says(
    broker: PrivateBroker,
    listen: Callable[[], Listener],
    daemon: Callable[..., Daemon],
    tmp_path: Path,
    rgb: Path,
) -> None:
    """Events as the schema says, one line each; a firmware that goes away ends nothing."""
    write(tmp_path, 0x50000)
    listener = listen()
    running = daemon(
        *("--source", "synthetic", "--model", rgb, "--broker", f"localhost:{broker.port}"),
        config='device.id = "d"\n',
        module="tests.pi",
        EDGE_TEST_SYS=str(tmp_path),
    )

    def events() -> list[dict[str, object]]:
        told = listener.payloads("event")
        return [event["evidence"] for event in told if event["type"] == "throttled"]

    listener.wait_for(lambda: bool(listener.payloads("state")))
    assert events() == []
    write(tmp_path, 0x50005)
    listener.wait_for(lambda: len(events()) == 1)
    (tmp_path / FILE).unlink()
    write(tmp_path, 0xD000D)
    listener.wait_for(lambda: len(events()) == 2)
    assert events() == [
        {"reasons": "under_voltage, throttled", "throttled_bits": 0x50005},
        {"reasons": "soft_temperature_limit", "throttled_bits": 0xD000D},
    ]
    for body in listener.bodies("event"):
        decode("event", body)
    assert running.stop() == 0
    assert running.log.read_text().count("the firmware throttles") == 2
