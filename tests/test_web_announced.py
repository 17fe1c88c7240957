"""Home Assistant leads to the page: the key, what is announced, and the hint of `edge web`."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.broker import PrivateBroker
from edge import config as configs
from edge.config import HomeAssistantConfig
from edge.errors import ConfigError
from edge.web.announced import hint
from tests.conftest import Daemon, Listener
from tests.test_web_security import set_password
from tests.web_server import Web

PAGE = "http://porch.local:8080/"
GOOD = [
    *("", PAGE, "https://camera.lan", "http://192.168.1.20:8080", "https://[fd00::7]:443/camera/"),
    *("http://porch", "http://10.0.0.1/a/b%20c"),
]
BAD = [
    *("porch.local:8080", "/", "ftp://porch/", "javascript:alert(1)", "http://", "http:///x"),
    *("http://me:pw@porch/", "http://me@porch/", "http://porch/?token=pw", "http://porch/#pw"),
    *("http://localhost:8080/", "http://a.localhost/", "http://127.0.0.1:8080/", "http://[::1]/"),
    *(
        "http://0.0.0.0:8080/",
        "http://[::]/",
        "http://[::ffff:127.0.0.1]/",
        "http://porch:99999/",
        "http://porch:x/",
    ),
    *("http://porch /", "http://porch/\n", "http://po\u200brch/", "http://[fd00::7/", "http://1.2"),
    *("http://por\\ch/", 'http://porch/"', "http://porch/<b>", "http://me:pw@" + "x" * 200),
]


def loaded(folder: Path, page: str) -> HomeAssistantConfig:
    """Return the table of a file with that page."""
    file = folder / "page.toml"
    file.write_text(f"[homeassistant]\npage = {json.dumps(page)}\n")
    return configs.load(file).homeassistant


@pytest.mark.parametrize("page", GOOD)
def test_an_address_on_the_network_is_taken(page: str, tmp_path: Path) -> None:
    """As it was written."""
    assert loaded(tmp_path, page).page == page


@pytest.mark.parametrize("page", BAD)
def test_any_other_address_is_refused_in_one_line(page: str, tmp_path: Path) -> None:
    """With the key; a login or a token in it is not repeated."""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, page)
    message = str(caught.value)
    assert "homeassistant" in message
    assert "page" in message
    assert "pw" not in message
    assert "\n" not in message


def test_the_device_s_entry_leads_to_the_page(
    tmp_path: Path,
    broker: PrivateBroker,
    daemon: Callable[..., Daemon],
    rgb: Path,
) -> None:
    """At the start; after a reload without the key it does no longer."""
    listener = Listener(broker, "homeassistant/#")
    config = '[local]\npath = "{0}/edge.sock"\n[homeassistant]\npage = "{1}"\n'
    arguments = ("--source", "synthetic", "--model", rgb, "--broker", broker.address)
    running = daemon(*arguments, config=config.format(tmp_path, PAGE))

    def announced() -> object:
        return (listener.payloads("config") or [{"device": None}])[-1]["device"]

    try:
        listener.wait_for(lambda: bool(announced()))
        assert announced() | {"configuration_url": PAGE} == announced()  # type: ignore[operator]
        (tmp_path / "edge.toml").write_text(config.format(tmp_path, ""))
        running.process.send_signal(1)
        listener.wait_for(lambda: "configuration_url" not in str(announced()))
    finally:
        listener.close()


@pytest.mark.parametrize("behind_proxy", [False, True])
def test_the_hint_is_there_where_it_is_needed(behind_proxy: bool) -> None:
    """On the network without the key; with the key and only for this machine, without a proxy."""
    none, here = HomeAssistantConfig(), HomeAssistantConfig(page=PAGE)

    def line(address: str, config: HomeAssistantConfig) -> str:
        return hint(address, config, "porch", behind_proxy)

    assert f'homeassistant.page = "{PAGE}"' in line("http://0.0.0.0:8080/", none)
    assert f'homeassistant.page = "{PAGE}"' in line("http://[::]:8080/", none)
    assert '"https://10.1.1.1:443/"' in line("https://10.1.1.1:443/", none)
    assert '"http://[fd00::7]:80/"' in line("http://[fd00::7]:80/", none)
    for address in ("http://127.0.0.1:8080/", "http://[::1]:8080/", "unix:/run/web.sock"):
        assert line(address, none) == ""
    assert line("http://0.0.0.0:8080/", here) == ""
    assert line("unix:/run/web.sock", here) == ""
    assert bool(line("http://127.0.0.1:8080/", here)) is not behind_proxy
    off = HomeAssistantConfig(discovery=False)
    assert line("http://0.0.0.0:8080/", off) == ""


def test_a_page_on_the_network_says_how_home_assistant_finds_it(
    tmp_path: Path, web: Callable[..., Web]
) -> None:
    """With its own port and this machine's name; silent once the key is there."""
    assert set_password(tmp_path).returncode == 0
    server = web("--host", "0.0.0.0").ready()
    wanted = f'homeassistant.page = "http://{socket.gethostname()}.local:{server.port}/"'
    assert server.ask("/healthz").status == 200  # the line is behind the address
    assert server.log.read_text().count(wanted) == 1
    config = f'[local]\npath = "{tmp_path}/edge.sock"\n[homeassistant]\npage = "{PAGE}"\n'
    other = web("--host", "0.0.0.0", config=config).ready()
    assert other.ask("/healthz").status == 200
    assert "homeassistant.page" not in other.log.read_text()
