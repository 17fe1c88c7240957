"""Home Assistant itself finds the daemon: entities appear, change, go away. `make homeassistant`.

Runs in an environment of its own, which has Home Assistant and its test harness; mosquitto and the
daemon are real, the daemon in this project's environment.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_socket
from homeassistant.core import HomeAssistant
from pytest_homeassistant_custom_component.common import MockConfigEntry

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from deploy.broker import PrivateBroker  # noqa: E402

WAIT_S = 30.0
CONFIG = """
[device]
id = "wall"
[publish]
telemetry_interval_s = 1.0
[snapshot]
enabled = true
"""


@pytest.fixture(autouse=True)
def sockets(socket_enabled: None) -> None:
    """The harness forbids sockets unless asked."""
    pytest_socket.socket_allow_hosts(["127.0.0.1", "localhost", "::1"])


@pytest.fixture
def broker() -> Iterator[PrivateBroker]:
    """A mosquitto of the test's own."""
    with PrivateBroker() as running:
        yield running


def start(broker: PrivateBroker, folder: Path) -> subprocess.Popen[bytes]:
    """Start the daemon on synthetic frames and the colour model."""
    (folder / "edge.toml").write_text(CONFIG)
    model = folder / "rgb"
    model.mkdir(exist_ok=True)
    (model / "uint8io.tflite").write_bytes((ROOT / "tests/models/uint8io.tflite").read_bytes())
    (model / "model.toml").write_text(
        'name = "rgb"\nfile = "uint8io.tflite"\nlabels = ["red", "green", "blue"]\n'
    )
    command = [ROOT / ".venv/bin/python", "-m", "edge", "run", "--config", folder / "edge.toml"]
    command += ["--source", "synthetic", "--model", model, "--broker", broker.address]
    return subprocess.Popen(list(map(str, command)), cwd=ROOT)


@pytest.fixture
async def home(
    hass: HomeAssistant, broker: PrivateBroker, tmp_path: Path
) -> AsyncIterator[HomeAssistant]:
    """Home Assistant with its MQTT integration on the same broker."""
    (tmp_path / "configuration.yaml").touch()
    hass.config.config_dir = str(tmp_path)
    entry = MockConfigEntry(
        domain="mqtt",
        data={"broker": broker.host, "port": broker.port, "protocol": "5"},
        options={"discovery": True},
        version=1,
        minor_version=2,
    )
    entry.add_to_hass(hass)
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    yield hass
    await hass.config_entries.async_unload(entry.entry_id)
    await hass.async_block_till_done()


async def until(hass: HomeAssistant, condition: Callable[[], Any]) -> None:
    """Wait for a state."""
    end = asyncio.get_running_loop().time() + WAIT_S
    while not condition():
        assert asyncio.get_running_loop().time() < end, [
            (state.entity_id, state.state) for state in hass.states.async_all()
        ]
        await asyncio.sleep(0.05)


async def test_entities_appear_change_and_go(
    home: HomeAssistant, broker: PrivateBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Discovered without a word of configuration; every value is the daemon's; no complaint."""
    daemon = start(broker, tmp_path)

    def state(entity: str) -> str | None:
        found = home.states.get(entity)
        return found.state if found else None

    try:
        await until(home, lambda: state("sensor.wall_label") == "red")
        await until(home, lambda: state("sensor.wall_label") == "green")
        await until(home, lambda: state("binary_sensor.wall_green") == "on")
        assert state("binary_sensor.wall_blue") == "off"
        await until(home, lambda: float(state("sensor.wall_frame_rate") or 0) > 10)
        await until(home, lambda: float(state("sensor.wall_memory") or 0) > 10)
        assert float(state("sensor.wall_latency_p99") or 0) > 0
        assert state("binary_sensor.wall_camera") == "off"
        assert state("sensor.wall_temperature") in ("unknown",) or float(
            state("sensor.wall_temperature") or 0
        )
        assert home.states.get("image.wall_snapshot") is not None
        assert state("switch.wall_pause") == "off"
        await home.services.async_call("switch", "turn_on", {"entity_id": "switch.wall_pause"})
        await until(home, lambda: state("switch.wall_pause") == "on")
        await home.services.async_call("switch", "turn_off", {"entity_id": "switch.wall_pause"})
        await until(home, lambda: state("switch.wall_pause") == "off")
        daemon.send_signal(signal.SIGKILL)
        await until(home, lambda: state("sensor.wall_label") == "unavailable")
    finally:
        daemon.kill()
        daemon.wait()
    command = [ROOT / ".venv/bin/python", "-m", "edge", "purge", "--broker", broker.address, "wall"]
    purge = await asyncio.create_subprocess_exec(*map(str, command), cwd=ROOT)
    assert await purge.wait() == 0
    await until(home, lambda: home.states.get("sensor.wall_label") is None)
    complaints = [r for r in caplog.records if "mqtt" in r.name and r.levelno >= logging.WARNING]
    assert not complaints
