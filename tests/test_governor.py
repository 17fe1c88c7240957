"""The governor: below its limits, without swinging, and back again; on a machine made of files."""

from __future__ import annotations

import itertools
import logging
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.broker import PrivateBroker
from edge.config import AdaptiveConfig
from edge.contract import EventType, decode
from edge.frames import Frame
from edge.gates import governor as governors
from edge.gates.governor import GOVERNED, Governor
from edge.gates.share import LOWER_S, RAISE_S, Reading, Share
from edge.telemetry import Firmware, Thermometer
from tests.conftest import Daemon, Listener
from tests.test_control import Asker, newest, online
from tests.test_systemd import Manager

HOUR_S = 3600.0
LIMIT = 75.0
FPS = 10
ZONE = "class/thermal/thermal_zone0"
FIRMWARE = "devices/platform/soc/soc:firmware/get_throttled"
FRAME = Frame(1, 1, np.zeros((1, 1), np.uint8), "gray")


def write(sys: Path, celsius: float | str | None, bits: int | None = 0) -> None:
    """Write what a machine's kernel and firmware say; None: it says nothing."""
    millis = f"{celsius * 1000:.0f}" if isinstance(celsius, int | float) else celsius
    said = None if bits is None else f"{bits:x}"
    if not (sys / ZONE).is_dir():
        (sys / ZONE).mkdir(parents=True)
        (sys / FIRMWARE).parent.mkdir(parents=True)
        (sys / ZONE / "type").write_text("cpu-thermal\n")
    for file, text in ((sys / ZONE / "temp", millis), (sys / FIRMWARE, said)):
        if text is None:
            file.unlink(missing_ok=True)
            continue
        (sys / "new").write_text(text + "\n")
        os.replace(sys / "new", file)


@dataclass
class Pi:
    """A machine whose temperature follows the work: a chip on a board, each with its own time.

    rise_celsius  of the board and the chip at full work, in the end
    tau_s      of the board: 20 without a heat sink and in a draught, 600 in a metal case
    noise      of the sensor, either way; it counts in steps of 0.487 degrees, as the Pi's does
    """

    sys: Path
    ambient_celsius: float = 30.0
    rise_celsius: float = 60.0
    tau_s: float = 200.0
    noise: float = 0.3
    cores_work: float = 0.6
    now_s: float = 0.0
    work: float = 0.0
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    ends: bool = False

    def __post_init__(self) -> None:
        """Begin at rest, cold."""
        self._random = random.Random(1)
        self._board, self._chip = self.ambient_celsius + 20.0, 0.0
        self.celsius = self._board
        self._shown = 0.0
        self._show(self.celsius)
        self._thermometer, self._firmware = Thermometer(self.sys), Firmware(self.sys)

    def add(self, type: EventType, line: str, **evidence: float | int | str) -> None:
        """Note an event."""
        assert "\n" not in line
        self.events.append((type, evidence))

    def read(self) -> Reading:
        """Read the files as the daemon does."""
        work = 0.02 + self.cores_work * self.work
        return Reading(self._thermometer.celsius(), self._firmware.throttled_bits(), work)

    def _show(self, celsius: float) -> None:
        """Write what the sensor shows, if it is something else than before."""
        if celsius != self._shown:
            self._shown = celsius
            write(self.sys, celsius)

    def governor(self, before: Governor | None = None, **limits: Any) -> Governor:
        """Return a governor of this machine."""
        config = AdaptiveConfig(**({"max_celsius": LIMIT} | limits))
        clock = lambda: self.now_s  # noqa: E731
        return Governor(config, self.read, self, lambda: self.ends, before, clock)

    def run(
        self, governor: Governor, seconds: float, each: Callable[[float], None] | None = None
    ) -> list[tuple[float, float]]:
        """Let time pass; return the temperature and the share, every two seconds.

        each  writes what the sensor shows
        """
        seen = []
        each = each or self._show
        for _ in range(round(seconds / governors.EVERY_S)):
            frames = round(FPS * governors.EVERY_S)
            passed = sum(not governor.skip(FRAME) for _ in range(frames))
            self.work = passed / frames
            for _ in range(4):
                step_s = governors.EVERY_S / 4
                goal = self.ambient_celsius + 20 + (self.rise_celsius - 8) * self.work
                self._board += (goal - self._board) * step_s / self.tau_s
                self._chip += (8 * self.work - self._chip) * step_s / 4
            self.celsius = self._board + self._chip
            shown = self.celsius + self._random.uniform(-self.noise, self.noise)
            each(round(shown / 0.487) * 0.487)
            self.now_s += governors.EVERY_S
            governor.tick()
            seen.append((self.celsius, governor.share.now))
        return seen


def changes(seen: list[tuple[float, float]]) -> int:
    """Return how often the share has changed."""
    return sum(a[1] != b[1] for a, b in itertools.pairwise(seen))


@pytest.mark.parametrize("tau_s", [60, 200, 600])
@pytest.mark.parametrize("rise_celsius", [30, 60, 90])
def test_it_stays_below_the_limit_and_comes_to_rest(
    tmp_path: Path, tau_s: float, rise_celsius: float
) -> None:
    """Without it, all of these would be at 80 to 140 degrees; with it, none swings."""
    pi = Pi(tmp_path, tau_s=tau_s, rise_celsius=rise_celsius)
    governor = pi.governor()
    seen = pi.run(governor, 2 * HOUR_S)
    assert max(celsius for celsius, _ in seen) < LIMIT
    last = seen[-1200:]
    assert changes(last) <= 2
    assert min(celsius for celsius, _ in last) > LIMIT - 8, "no colder than it need be"
    assert [type for type, _ in pi.events] == ["rate_lowered"]
    assert pi.events[0][1]["reason"] == "temperature"
    assert pi.events[0][1]["limit_celsius"] == LIMIT


def test_where_a_step_is_nearly_too_much_it_tries_again_ever_later(tmp_path: Path) -> None:
    """Each twentieth warms it by seven degrees, and the sensor is off by one: no swinging."""
    pi = Pi(tmp_path, ambient_celsius=1, tau_s=120, rise_celsius=150, noise=1.0)
    governor = pi.governor(min_fps=0.1)
    seen = pi.run(governor, 2 * HOUR_S)
    assert max(celsius for celsius, _ in seen) < LIMIT
    assert changes(seen[-1800:]) <= 30, "without waiting longer each time about a hundred"


def test_it_raises_step_by_step_once_it_is_cooler_and_says_so(tmp_path: Path) -> None:
    """All frames again, then a minute later the end of it."""
    pi = Pi(tmp_path)
    governor = pi.governor()
    pi.run(governor, HOUR_S / 2)
    assert governor.share.now < 0.5
    pi.ambient_celsius = -10
    seen = pi.run(governor, HOUR_S)
    assert seen[-1][1] == 1
    steps = [b[1] - a[1] for a, b in itertools.pairwise(seen) if a[1] != b[1]]
    assert min(steps) > 0
    assert max(steps) <= 0.051
    assert [type for type, _ in pi.events] == ["rate_lowered", "rate_restored"]
    assert governor.figures().reason == ""


def test_load_that_comes_and_goes_is_no_flood_of_events(tmp_path: Path) -> None:
    """Every quarter of an hour, for six hours: about two events an hour at most."""
    pi = Pi(tmp_path, tau_s=60, rise_celsius=50)
    governor = pi.governor()
    for _ in range(12):
        pi.ambient_celsius = 30
        assert max(celsius for celsius, _ in pi.run(governor, 900)) < LIMIT
        pi.ambient_celsius = -20
        pi.run(governor, 900)
    assert len(pi.events) <= 2 * 6 + 4


def test_throttling_lowers_whatever_the_temperature_is(tmp_path: Path) -> None:
    """Under-voltage too: less work draws less current. Bits of the past do not count."""
    pi = Pi(tmp_path, ambient_celsius=0, rise_celsius=10)
    governor = pi.governor()
    pi.run(governor, 60, lambda _: write(tmp_path, 30.0, 0x50000))
    assert governor.share.now == 1
    pi.run(governor, 60, lambda _: write(tmp_path, 30.0, 0x50005))
    assert governor.share.now == pytest.approx(0.1), "a frame a second"
    assert pi.events[0][1] == {
        "reason": "throttled", "frames_share": 0.7, "throttled_bits": 0x50005,
    }  # fmt: skip
    pi.run(governor, HOUR_S, lambda _: write(tmp_path, 30.0, 0x50000))
    assert governor.share.now == 1


@pytest.mark.parametrize("said", [None, "", "hot", "\0", "99999999", "-300000", "0x4b"])
def test_a_sensor_that_is_missing_or_absurd_changes_nothing(
    tmp_path: Path, said: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """One line says that the limit does nothing."""
    caplog.set_level(logging.WARNING)
    pi = Pi(tmp_path)
    governor = pi.governor()
    pi.run(governor, 600, lambda _: write(tmp_path, said, None))
    assert governor.share.now == 1
    assert pi.events == []
    assert len(caplog.records) == 1
    assert "shows no temperature" in caplog.text


def test_a_sensor_that_fails_while_it_is_hot_raises_nothing(tmp_path: Path) -> None:
    """Nobody knows that it is cooler; with the sensor it goes on."""
    pi = Pi(tmp_path)
    governor = pi.governor()
    pi.run(governor, HOUR_S)
    share = governor.share.now
    seen = pi.run(governor, HOUR_S, lambda _: write(tmp_path, None))
    assert {one for _, one in seen} == {share}
    pi.ambient_celsius = -10
    pi.run(governor, HOUR_S)
    assert governor.share.now == 1


def test_one_absurd_reading_among_others_is_no_heat(tmp_path: Path) -> None:
    """A bus that glitches once a minute."""
    pi = Pi(tmp_path, ambient_celsius=0, rise_celsius=10)
    governor = pi.governor()

    def glitch(celsius: float) -> None:
        write(tmp_path, celsius if pi.now_s % 60 else 125.0)

    pi.run(governor, HOUR_S, glitch)
    assert governor.share.now == 1


def test_a_cpu_budget_is_kept_and_used(tmp_path: Path) -> None:
    """Of 62 % at full rate 30 are allowed: within a minute below, and not far below."""
    pi = Pi(tmp_path)
    governor = pi.governor(max_celsius=0, cpu_share=0.3)
    pi.run(governor, 60)
    seen = pi.run(governor, HOUR_S)
    used = [0.02 + pi.cores_work * share for _, share in seen]
    assert max(used) <= 0.305
    assert min(used) > 0.2
    assert changes(seen) <= 4
    assert pi.events[0][1]["reason"] == "cpu"
    assert pi.events[0][1]["limit_cpu_share"] == 0.3
    pi.cores_work = 0.1
    pi.run(governor, HOUR_S)
    assert governor.share.now == 1
    assert [type for type, _ in pi.events] == ["rate_lowered", "rate_restored"]


def test_min_fps_is_classified_whatever_happens(tmp_path: Path) -> None:
    """Of 10 frames a second 2 are left, and the figures say that it is the least."""
    pi = Pi(tmp_path, ambient_celsius=90)
    governor = pi.governor(min_fps=2.0)
    pi.run(governor, 600)
    assert governor.share.now == pytest.approx(0.2)
    assert governor.figures().lowest
    passed = [governor.skip(FRAME) for _ in range(100)]
    assert passed.count(GOVERNED) == pytest.approx(80, abs=1)
    assert governor.figures().skipped_total > 500


def test_a_reason_ends_where_nothing_could_be_lowered() -> None:
    """A camera with fewer frames than min_fps: hot, then not."""
    share = Share(LIMIT, 0.0)
    for now_s in range(0, 60, 2):
        share.update(Reading(80.0), 1.0, now_s)
    assert (share.now, share.reason) == (1.0, "temperature")
    for now_s in range(60, 120, 2):
        share.update(Reading(40.0), 1.0, now_s)
    assert (share.now, share.reason) == (1.0, "")


def test_another_limit_goes_on_where_the_one_before_is(tmp_path: Path) -> None:
    """A `set` request or a reload on a hot machine does not begin at full rate."""
    pi = Pi(tmp_path)
    hot = pi.governor()
    pi.run(hot, HOUR_S)
    share = hot.share.now
    new = pi.governor(hot, max_celsius=80.0)
    hot.close()
    assert new.share.now == share
    pi.run(new, HOUR_S)
    assert new.share.now > share
    assert [type for type, _ in pi.events] == ["rate_lowered"]
    pi.ends = True
    new.close()
    assert [type for type, _ in pi.events] == ["rate_lowered", "rate_restored"]


@given(
    st.lists(
        st.tuples(
            st.none() | st.floats(allow_nan=True),
            st.none() | st.integers(0, 0xFFFFF),
            st.none() | st.floats(0, 4),
            st.floats(0.1, 60),
        ),
        max_size=80,
    ),
    st.floats(0.01, 1),
)
def test_whatever_a_machine_says_the_share_is_one(
    readings: list[tuple[float | None, int | None, float | None, float]], least: float
) -> None:
    """Between the least and all, and with a reason exactly where it is not all."""
    share, now_s = Share(LIMIT, 0.5), 0.0
    for celsius, bits, cpu, step_s in readings:
        now_s += step_s
        share.update(Reading(celsius, bits, cpu), least, now_s)
        assert least <= share.now <= 1
        assert bool(share.reason) or share.now == 1


def test_it_lowers_before_it_raises() -> None:
    """A raise takes five times as long as a step down."""
    assert RAISE_S >= 5 * LOWER_S


CONFIG = """
[device]
id = "wall"
[adaptive]
max_celsius = 75
min_fps = 5
[publish]
telemetry_interval_s = 0.5
"""


def test_the_daemon_governs_itself(
    broker: PrivateBroker,
    listen: Callable[[], Listener],
    daemon: Callable[..., Daemon],
    tmp_path: Path,
    rgb: Path,
) -> None:
    """Event, telemetry, STATUS and the count of skipped frames, of files that say it is hot."""
    write(tmp_path, 50.0)
    listener, manager = listen(), Manager(tmp_path)
    running = daemon(
        *("--source", "synthetic", "--model", rgb, "--broker", broker.address),
        config=CONFIG,
        module="tests.pi",
        EDGE_TEST_SYS=str(tmp_path),
        NOTIFY_SOCKET=str(tmp_path / "notify"),
    )
    online(broker)

    def part() -> dict[str, Any]:
        telemetry: dict[str, Any] = newest(listener, "telemetry") or {}
        return dict(telemetry.get("governor", {}))

    def events() -> list[str]:
        return [event["type"] for event in listener.payloads("event")]

    listener.wait_for(lambda: bool(part()))
    assert part()["frames_share"] == 1
    assert part()["reason"] == ""
    write(tmp_path, 80.0)
    listener.wait_for(lambda: part().get("lowest", False))
    assert part()["reason"] == "temperature"
    assert part()["frames_share"] == pytest.approx(5 / 30, abs=0.1)
    assert events().count("rate_lowered") == 1
    listener.wait_for(lambda: part()["skipped_total"] > 20)
    assert any("classifies 1" in manager.hear() for _ in range(500))
    assert newest(listener, "telemetry")["plugs"]["skipped_total"]["governed"] > 0
    write(tmp_path, 50.0)
    listener.wait_for(lambda: part()["frames_share"] == 1)
    asker = Asker(broker)
    answer = asker.ask("set", {"adaptive": {"max_celsius": 20}})
    assert "below the temperature of a processor at rest" in answer["error"]
    assert asker.ask("set", {"adaptive": {"max_celsius": 0}})["status"] == "ok"
    listener.wait_for(lambda: "rate_restored" in events())
    asker.close()
    for body in listener.bodies("event"):
        decode("event", body)
    assert running.stop() == 0
    log = running.log.read_text()
    assert log.count("frames that are classified: ") == 2
    manager.close()
