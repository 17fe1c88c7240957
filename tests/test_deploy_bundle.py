"""A model as it is given to a rollout: its name, from a card or a signed bundle's manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy import bundle
from deploy.bundle import of_file, of_folder
from deploy.errors import DeployError
from edge.model import installed
from edge.model.signed import archive, manifest
from tests.script_hosts import signed


def refusal(path: Path) -> str:
    """Return the one line that refuses a bundle."""
    with pytest.raises(DeployError) as error:
        of_file(path) if path.is_file() else of_folder(path)
    assert error.value.status == 65
    assert str(error.value).isprintable()
    assert str(path) in str(error.value)
    return str(error.value)


def raw(path: Path, content: bytes, name: str = bundle.MANIFEST) -> Path:
    """Write an archive whose first member has this content."""
    path.write_bytes(archive.header(name, len(content)) + content)
    return path


def test_the_format_is_that_of_signed_models() -> None:
    """It is written down twice: this reader has no libraries."""
    assert bundle.FORMAT == manifest.FORMAT
    assert (bundle.MANIFEST, bundle.CARD) == (installed.MANIFEST, installed.CARD)
    assert bundle.MANIFEST_MAX == manifest.MANIFEST_MAX
    assert bundle.BLOCK == archive.BLOCK


@pytest.mark.parametrize(
    ("name", "version"), [("gate", "1"), ("A.b-c_9", "2024.1"), ("g" * 64, "v" * 32)]
)
def test_a_bundle_and_its_folder_have_one_name(tmp_path: Path, name: str, version: str) -> None:
    """As a device lists it."""
    (tmp_path / "model.toml").write_text(f'name = "{name}"\nversion = "{version}"\n')
    reference = f"{name}@{version}"
    assert of_folder(tmp_path) == reference
    assert of_file(signed(tmp_path / "x.edgemodel", name, version, more=[1])) == reference
    assert installed.is_name(reference)


def test_a_card_without_a_version_is_version_one(tmp_path: Path) -> None:
    """As `edge models add` has it."""
    (tmp_path / "model.toml").write_text('name = "gate"\n')
    assert of_folder(tmp_path) == "gate@1"


@pytest.mark.parametrize(
    ("name", "version"),
    [("", "1"), ("gate", ""), ("a b", "1"), ("a@1", "2"), ("a", "1\n"), ("-a", "1"), ("a/b", "1"),
     ("g" * 65, "1"), ("a", "x.toml"), ("\x1b[2J", "1"), ("a" * 9000, "1"), (1, "1"), ("a", 1),
     (None, [])],
)  # fmt: skip
def test_a_name_that_no_device_would_take_is_refused(
    tmp_path: Path, name: Any, version: Any
) -> None:
    """Before any device is reached."""
    line = refusal(signed(tmp_path / "x.edgemodel", name, version))
    assert "manifest.json: not a model's name: expected a name and version of letters" in line
    if isinstance(name, str) and isinstance(version, str) and version:
        quoted = f"name = {json.dumps(name)}\nversion = {json.dumps(version)}\n"
        (tmp_path / "model.toml").write_text(quoted)
        assert "model.toml: not a model's name" in refusal(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"{}", b"[]", b"null", b"{", b"\xff", b'{"format": 1}', b"[" * 60_000, b"1" * 60_000,
     json.dumps({"format": bundle.FORMAT, "name": "gate"}).encode(),
     json.dumps({"format": "other", "name": "gate", "version": "1"}).encode(),
     json.dumps({"format": bundle.FORMAT, "name": "gate", "version": "1"}).encode("utf-16")],
)  # fmt: skip
def test_a_manifest_that_is_none_is_one_line(tmp_path: Path, content: bytes) -> None:
    """Whatever its bytes."""
    assert "not a signed bundle: expected an archive" in refusal(
        raw(tmp_path / "x.edgemodel", content)
    )


def test_an_archive_that_is_none_is_one_line(tmp_path: Path) -> None:
    """Another first member, a manifest of gigabytes, one that is cut off, a tar of a folder."""
    good = json.dumps({"format": bundle.FORMAT, "name": "gate", "version": "1"}).encode()
    path = tmp_path / "x.edgemodel"
    for name in ("model.toml", "./manifest.json", "manifest.sig"):
        refusal(raw(path, good, name))
    path.write_bytes(archive.header(bundle.MANIFEST, 1 << 30) + good)
    refusal(path)
    path.write_bytes(archive.header(bundle.MANIFEST, len(good) + 1) + good)
    refusal(path)
    path.write_bytes(archive.header(bundle.MANIFEST, len(good))[:500])
    refusal(path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "model.toml").write_text('name = "gate"\n')
    bundle.pack(tmp_path / "folder", path)
    refusal(path)
    raw(path, good)
    assert of_file(path) == "gate@1"


@given(st.binary(min_size=1, max_size=1200))
def test_any_file_is_refused_by_a_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    """Never a traceback."""
    path = tmp_path_factory.mktemp("any") / "x.edgemodel"
    path.write_bytes(content)
    refusal(path)
