"""A site that signs models: a key, bundles right and wrong, and a device that trusts the key."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.model.signed import archive
from tests.conftest import model_folder


def openssl(*arguments: str | Path) -> None:
    """Run OpenSSL's program."""
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def new_key(folder: Path, name: str, algorithm: str = "ed25519") -> Path:
    """Make NAME.key and NAME.pem as docs/signing.md does; return the private one."""
    folder.mkdir(parents=True, exist_ok=True)
    key = folder / f"{name}.key"
    openssl("genpkey", "-algorithm", algorithm, "-out", key)
    openssl("pkey", "-in", key, "-pubout", "-out", folder / f"{name}.pem")
    return key


def signature(content: bytes, key: Path) -> bytes:
    """Return what OpenSSL alone signs: not the code under test."""
    text, out = key.with_suffix(".text"), key.with_suffix(".signature")
    text.write_bytes(content)
    openssl("pkeyutl", "-sign", "-inkey", key, "-rawin", "-in", text, "-out", out)
    return out.read_bytes()


def named(folder: Path, name: str, version: str) -> Path:
    """Return a folder with the colour model, under another name and version."""
    model_folder(folder, name="uint8io")
    card = (folder / "model.toml").read_text().replace('"uint8io"', f'"{name}"', 1)
    (folder / "model.toml").write_text(f'version = "{version}"\n{card}')
    return folder


@dataclass
class Site:
    """An operator's machine and one device. state: the device's; config: its edge.toml."""

    folder: Path
    device: str = "wall"
    lines: str = ""
    made: int = field(default=0)

    def __post_init__(self) -> None:
        """Make them."""
        self.key = new_key(self.folder / "site", "site")
        self.keys, self.state = self.folder / "trusted", self.folder / "state"
        self.keys.mkdir()
        self.state.mkdir()
        (self.keys / "site.pem").write_bytes((self.folder / "site" / "site.pem").read_bytes())

    @property
    def text(self) -> str:
        """Of edge.toml."""
        return f'device.id = "{self.device}"\nbundles.keys = "{self.keys}"\n{self.lines}'

    @property
    def config(self) -> Path:
        """edge.toml, with ``lines``."""
        path = self.folder / "site.toml"
        path.write_text(self.text)
        return path

    def model(self, name: str = "hues", version: str = "1") -> Path:
        """Return a folder with a model."""
        self.made += 1
        return named(self.folder / f"model-{self.made}", name, version)

    def manifest(self, folder: Path, serial: int = 100, **changes: Any) -> dict[str, Any]:
        """Return the manifest of a folder, with changes."""
        files = []
        for path in sorted(folder.iterdir()):
            content = path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            files.append({"name": path.name, "size": len(content), "sha256": digest})
        card = (folder / "model.toml").read_text()
        return {
            "format": "edge-camera signed model 1",
            "name": card.split('name = "')[1].split('"')[0],
            "version": card.split('version = "')[1].split('"')[0],
            "serial": serial,
            "created": 1_700_000_000,
            "files": files,
        } | changes

    def bundle(
        self, folder: Path, serial: int = 100, key: Path | None = None, **changes: Any
    ) -> bytes:
        """Return the bundle of a folder, whatever its manifest then says."""
        content = json.dumps(self.manifest(folder, serial, **changes)).encode()
        return self.packed(folder, content, key)

    def packed(self, folder: Path, content: bytes, key: Path | None = None) -> bytes:
        """Return the bundle of a folder with this manifest, signed."""
        out = io.BytesIO()
        files = ((path.name, path.read_bytes()) for path in sorted(folder.iterdir()))
        archive.write(out, content, signature(content, key or self.key), files)
        return out.getvalue()

    def write(self, content: bytes, name: str = "x.edgemodel") -> Path:
        """Return a file with ``content``."""
        (self.folder / name).write_bytes(content)
        return self.folder / name

    def on_device(self) -> dict[str, bytes]:
        """Return every file of the device's state, but proofs and waiting events."""
        return {
            str(path.relative_to(self.state)): path.read_bytes() if path.is_file() else b"a folder"
            for path in sorted(self.state.rglob("*"))
            if path.name not in ("proven.json", "models") and "spool.db" not in path.name
        }
