"""The files of a site on the SD card: paths, contents and permissions.

The same files for an image of `make image` and of `make provision`; they differ in the network
manager, which the caller names. Nothing is written here.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from deploy.image.config import PLACES, Site, Wifi, psk

SECRETS: Final = "/etc/edge-camera/credentials"
"""The folder that the unit loads credentials from."""
GROUPS: Final = ("sudo", "video", "systemd-journal", "edge-camera-local")
"""Of the owner: the last one may use the daemon's local socket."""
Network = Literal["networkd", "NetworkManager"]


@dataclass(frozen=True, slots=True)
class File:
    """One file on the SD card, owned by root."""

    path: str
    content: str
    mode: int = 0o644


def files(site: Site, network: Network) -> list[File]:
    """Return every file of the site, in order of paths."""
    made = [
        File("/etc/edge-camera/edge.toml", toml(site.edge)),
        File("/etc/edge-image/hostname", site.system.hostname + "\n"),
        *_broker(site),
        *_user(site),
        *_wifi(site.wifi, network),
    ]
    return sorted(made, key=lambda file: file.path)


def _broker(site: Site) -> Iterator[File]:
    for key, place in PLACES.items():
        if content := getattr(site.broker, key):
            yield File(place, content)
    for name, secret in (
        ("mqtt-key", site.broker.key_file),
        ("mqtt-password", site.broker.password),
        ("camera-password", site.camera.password),
    ):
        if secret:
            yield File(f"{SECRETS}/{name}", secret.rstrip("\n") + "\n", 0o600)


def _user(site: Site) -> Iterator[File]:
    if not site.user.ssh_keys:
        return
    name, home = site.user.name, f"/home/{site.user.name}"
    yield File(
        "/etc/sysusers.d/edge-site.conf",
        f'u {name} 1000 "Owner of this device" {home} /bin/bash\n'
        + "".join(f"m {name} {group}\n" for group in GROUPS),
    )
    yield File(
        "/etc/tmpfiles.d/edge-site.conf",
        f"d {home} 0750 {name} {name}\nd {home}/.ssh 0700 {name} {name}\n"
        f"C {home}/.ssh/authorized_keys 0600 {name} {name} - /etc/edge-image/authorized_keys\n",
    )
    yield File("/etc/edge-image/authorized_keys", "\n".join(site.user.ssh_keys) + "\n")
    yield File("/etc/sudoers.d/edge-site", f"{name} ALL=(ALL:ALL) NOPASSWD: ALL\n", 0o440)


def _wifi(wifi: Wifi, network: Network) -> Iterator[File]:
    """Yield the files of the network; its name is encoded, since it may hold any character."""
    if not wifi.ssid or wifi.country is None:
        return
    yield File(
        "/etc/modprobe.d/edge-site.conf", f"options cfg80211 ieee80211_regdom={wifi.country}\n"
    )
    if network == "networkd":
        how = f"psk={psk(wifi)}" if wifi.password else "key_mgmt=NONE"
        yield File(
            "/etc/wpa_supplicant/wpa_supplicant-wlan0.conf",
            f"country={wifi.country}\nctrl_interface=/run/wpa_supplicant\n"
            f"network={{\n\tssid={wifi.ssid.encode().hex()}\n\tscan_ssid=1\n\t{how}\n}}\n",
            0o600,
        )
        return
    yield File("/etc/edge-image/wifi-country", f"{wifi.country}\n")
    name = ";".join(str(byte) for byte in wifi.ssid.encode())
    security = f"\n[wifi-security]\nkey-mgmt=wpa-psk\npsk={psk(wifi)}\n" if wifi.password else ""
    yield File(
        "/etc/NetworkManager/system-connections/edge-site.nmconnection",
        f"[connection]\nid=edge-site\nuuid={uuid.uuid5(uuid.NAMESPACE_DNS, wifi.ssid)}\n"
        f"type=wifi\n\n[wifi]\nmode=infrastructure\nhidden=true\nssid={name};\n{security}"
        "\n[ipv4]\nmethod=auto\n\n[ipv6]\nmethod=auto\n",
        0o600,
    )


def toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Return ``tables`` as TOML. JSON's strings, numbers, booleans and lists are TOML's too."""
    text = "# Written for this SD card; every key: man edge.toml.\n"
    for name, keys in tables.items():
        plain = {key: value for key, value in keys.items() if not isinstance(value, Mapping)}
        inner = {f"{name}.{key}": value for key, value in keys.items() if key not in plain}
        if plain:
            text += f"\n[{name}]\n" + "".join(
                f"{key} = {_value(value)}\n" for key, value in plain.items()
            )
        text += "".join(toml({key: value}).partition("\n")[2] for key, value in inner.items())
    return text


def _value(value: Any) -> str:
    # DEL is the one character that JSON does not escape and TOML refuses.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
