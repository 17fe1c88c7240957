"""Signed bundles from a file: made, added; and everything that must be refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import config as configs
from edge.config import persisted
from edge.errors import ConfigError, EdgeError, ModelError
from edge.model import installed, store, workspace
from edge.model.signed import add, archive, keys, make, manifest, serials
from edge.model.signed.add import Added
from tests import heads
from tests.conftest import ROOT, edge
from tests.fuzz import fuzz, mutated
from tests.signing import Site, new_key, openssl


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A key, and a device that trusts it."""
    made = Site(tmp_path)
    monkeypatch.setenv("STATE_DIRECTORY", str(made.state))
    return made


def put(site: Site, content: bytes, **options: Any) -> Added:
    """Add a bundle as the command does."""
    path = site.write(content)
    policy = add.policy(configs.load(site.config), **options)
    return add.add(add.opened(path), str(path), policy)


def refused(site: Site, content: bytes, match: str, **options: Any) -> None:
    """A bundle is refused in one line with these words, and the device is as it was."""
    before = site.on_device()
    with pytest.raises(EdgeError, match=match) as raised:
        put(site, content, **options)
    assert "\n" not in str(raised.value)
    assert site.on_device() == before


def test_a_folder_is_signed_added_listed_and_used_by_name(site: Site) -> None:
    """From `sign` to `add` by the command line alone; any tar and OpenSSL can read the file."""
    folder, out = site.model(), site.folder / "hues-1.edgemodel"
    made = edge("models", "sign", folder, "--key", site.key, "--out", out, "--json")
    assert made.returncode == 0, made.stderr
    said = json.loads(made.stdout)
    assert (said["file"], said["name"]) == (str(out), "hues@1")
    assert abs(said["serial"] - time.time()) < 600
    names = ["manifest.json", "manifest.sig", "model.toml", "uint8io.tflite"]
    with tarfile.open(out) as tar:
        assert [(one.name, one.mode, one.uid) for one in tar] == [(n, 0o644, 0) for n in names]
    subprocess.run(["tar", "-xf", out], cwd=site.folder, check=True)
    public = site.folder / "site" / "site.pem"
    openssl(
        *("pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin"),
        *("-in", site.folder / "manifest.json", "-sigfile", site.folder / "manifest.sig"),
    )
    added = edge("models", "add", out, "--json", "--config", site.config)
    assert added.returncode == 0, added.stderr
    answer = json.loads(added.stdout)
    assert answer == {
        "name": "hues@1",
        "bytes": sum(path.stat().st_size for path in folder.iterdir()),
        "serial": said["serial"],
        "key": keys.trusted(site.keys)[0].id,
        "changed": True,
    }
    rows = json.loads(edge("models", "--json").stdout)["models"]
    assert next(row for row in rows if row["name"] == "hues@1")["serial"] == said["serial"]
    assert installed.folder("hues") == site.state / "models" / "hues@1"
    mode = [path.stat().st_mode & 0o777 for path in (site.state / "models" / "hues@1").iterdir()]
    assert {*mode} == {0o644}
    again = edge("models", "add", out, "--config", site.config)
    assert (again.returncode, "there already" in again.stdout) == (0, True)


def test_the_same_terms_give_the_same_bytes(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is installed can be signed once more: its old signature is left out."""
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.5)
    folder = site.model()
    first, what = make.make(folder, site.key, make.Terms(), site.folder / "a.edgemodel")
    second, _ = make.make(folder, site.key, make.Terms(), site.folder / "b.edgemodel")
    assert first.read_bytes() == second.read_bytes()
    assert (what.serial, what.created) == (1_800_000_000, 1_800_000_000)
    put(site, first.read_bytes())
    there = site.state / "models" / "hues@1"
    third, _ = make.make(there, site.key, make.Terms(), site.folder / "c.edgemodel")
    assert third.read_bytes() == first.read_bytes()


def test_a_backbone_by_reference_is_a_bundle_too(site: Site) -> None:
    """What teaching makes: a card, a head, a report; the network is on the device already."""
    heads.backbone(site.state / "models" / "bone")
    folder = heads.bundle(site.folder / "headed", on="bone")
    out, what = make.make(folder, site.key, make.Terms(), site.folder / "h.edgemodel")
    assert put(site, out.read_bytes()).name == what.reference
    assert {member.name for member in what.files} == {path.name for path in folder.iterdir()}


def test_without_a_key_nothing_is_accepted(site: Site) -> None:
    """No folder, an empty one, files that are no keys: one line that says how to get one."""
    content = site.bundle(site.model())
    (site.keys / "site.pem").unlink()
    refused(site, content, r"no key is trusted.*docs/signing\.md")
    (site.keys / "site.pem").write_text(
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"
    )
    refused(site, content, "no key is trusted")
    os.mkfifo(site.keys / "pipe.pem")
    refused(site, content, "no key is trusted")
    new_key(site.folder / "rsa", "rsa", "RSA")
    (site.keys / "rsa.pem").write_bytes((site.folder / "rsa" / "rsa.pem").read_bytes())
    refused(site, content, "no key is trusted")
    site.keys = site.folder / "nowhere"
    refused(site, content, "no key is trusted")


def test_a_private_key_among_the_trusted_ones_is_pointed_out(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """It is left out, with a warning; the others count."""
    (site.keys / "a.pem").write_bytes(site.key.read_bytes())
    assert put(site, site.bundle(site.model())).changed
    assert "a.pem: is not trusted: a private key" in caplog.text


def test_keys_are_rotated_and_revoked(site: Site) -> None:
    """A second key counts beside the first; once the first is removed, what it signs is refused."""
    second = new_key(site.folder / "site", "second")
    model = site.model()
    refused(site, site.bundle(model, 100, second), "by no key that is trusted.*site.pem")
    (site.keys / "second.pem").write_bytes((site.folder / "site" / "second.pem").read_bytes())
    assert put(site, site.bundle(model, 100, second)).changed
    assert put(site, site.bundle(site.model(version="2"), 101)).changed
    (site.keys / "site.pem").unlink()
    refused(site, site.bundle(site.model(version="3"), 102), "by no key that is trusted")


def test_a_changed_byte_anywhere_is_refused(site: Site) -> None:
    """Every header, the padding between the members, the signature, the content, the end."""
    content = site.bundle(site.model())
    spots = {0, 99, 124, 148, 156, 157, 257, 345, 511, 512, 700, len(content) - 1}
    spots |= {*range(0, len(content), 257)}
    for at in sorted(spots):
        changed = bytearray(content)
        changed[at] ^= 0x20
        refused(site, bytes(changed), "x.edgemodel")
    assert put(site, content).changed


def test_a_bundle_that_ends_early_is_refused_at_every_boundary(site: Site) -> None:
    """Cut before, at and after each member, and with more after its end."""
    content = site.bundle(site.model())
    for boundary in range(0, len(content), 512):
        for at in {max(0, boundary - 1), boundary, boundary + 1} - {len(content)}:
            refused(site, content[:at], "cut off|not a signed bundle|as its manifest says")
    for more in (b"\0", b"x", bytes(512), content):
        refused(site, content + more, "more follows")


def rebuilt(site: Site, change: Callable[[list[tarfile.TarInfo], list[bytes]], None]) -> bytes:
    """Return a bundle, truly signed, whose members another tar has written with ``change``."""
    import io

    infos, contents = [], []
    with tarfile.open(fileobj=io.BytesIO(site.bundle(site.model()))) as tar:
        for info in tar:
            file = tar.extractfile(info)
            infos.append(info)
            contents.append(file.read() if file else b"")
    change(infos, contents)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for info, body in zip(infos, contents, strict=True):
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return out.getvalue()


def member(name: str, type: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    """Return a member of this name and type."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = type, link
    return info


@pytest.mark.parametrize(
    "strange",
    [
        member("../evil"),
        member("/etc/cron.d/evil"),
        member("evil"),
        member("model.toml"),
        member("link", tarfile.SYMTYPE, "/etc/passwd"),
        member("hard", tarfile.LNKTYPE, "model.toml"),
        member("device", tarfile.CHRTYPE),
        member("pipe", tarfile.FIFOTYPE),
        member("folder", tarfile.DIRTYPE),
        member("sparse", tarfile.GNUTYPE_SPARSE),
        member("long", tarfile.GNUTYPE_LONGNAME),
        member("pax", tarfile.XHDTYPE),
    ],
    ids=lambda info: info.name,
)
@pytest.mark.parametrize("at", [0, 1, 2, 3, 4])
def test_a_member_that_is_not_in_the_manifest_is_refused(
    site: Site, strange: tarfile.TarInfo, at: int
) -> None:
    """At every place; whatever its kind, nothing outside or inside is written."""

    def insert(infos: list[tarfile.TarInfo], contents: list[bytes]) -> None:
        infos.insert(at, strange)
        contents.insert(at, b"")

    refused(site, rebuilt(site, insert), "x.edgemodel")
    assert not Path("/etc/cron.d/evil").exists()


def test_a_missing_or_moved_member_is_refused(site: Site) -> None:
    """Each of them left out once, and two in the other order."""
    for gone in range(4):

        def leave_out(infos: list[Any], contents: list[bytes], at: int = gone) -> None:
            del infos[at], contents[at]

        refused(site, rebuilt(site, leave_out), "x.edgemodel")

    def swap(infos: list[Any], contents: list[bytes]) -> None:
        infos[2:], contents[2:] = infos[:1:-1], contents[:1:-1]

    refused(site, rebuilt(site, swap), "as its manifest says")


def test_the_signature_must_be_there_and_of_its_length(site: Site) -> None:
    """None, zeros, one of another manifest, 63 or 65 bytes."""
    other = site.bundle(site.model(version="9"))
    theirs = other[other.index(b"manifest.sig") + 512 :][:64]
    for wrong in (b"", bytes(64), bytes(63), bytes(65), theirs):

        def replace(infos: list[Any], contents: list[bytes], wrong: bytes = wrong) -> None:
            contents[1] = wrong

        refused(site, rebuilt(site, replace), "x.edgemodel")


LIES: list[tuple[dict[str, Any], str]] = [
    ({"name": "other"}, "another name or version than the manifest.*other@1, got hues@1"),
    ({"version": "2"}, "another name or version than the manifest"),
    ({"name": "../hues"}, "cannot be a folder's"),
    ({"name": "catdog"}, "comes with this program"),
    ({"version": "1/.."}, "cannot be a folder's"),
    ({"format": "edge-camera signed model 2"}, "the manifest is not valid"),
    ({"serial": 0}, "the manifest is not valid"),
    ({"serial": -5}, "the manifest is not valid"),
    ({"serial": 1 << 60}, "the manifest is not valid"),
    ({"serial": "100"}, "the manifest is not valid"),
    ({"more": 1}, "the manifest is not valid"),
    ({"files": []}, "the manifest is not valid"),
    ({"expires": 1_000_000_000}, "has expired: got 2001-09-09 01:46:40 UTC"),
    ({"devices": ["porch", "gate-*"]}, "for other devices: expected porch, gate-\\*, got wall"),
]


@pytest.mark.parametrize(("changes", "match"), LIES, ids=[str(lie[0])[:30] for lie in LIES])
def test_a_manifest_that_lies_is_refused(site: Site, changes: dict[str, Any], match: str) -> None:
    """It is truly signed, but not what is in the bundle, or not for this device or time."""
    refused(site, site.bundle(site.model(), **changes), match)


def test_a_list_of_files_that_lies_is_refused(site: Site) -> None:
    """Sizes, checksums, a name twice, paths, too much in one file and together."""
    model = site.model()
    files = site.manifest(model)["files"]
    card, network = files

    def lists(*wrong: dict[str, Any]) -> bytes:
        return site.bundle(model, files=list(wrong))

    refused(site, lists(card, network | {"size": network["size"] + 1}), "as its manifest says")
    refused(site, lists(card, network | {"size": 0}), "as its manifest says")
    refused(site, lists(card, network | {"sha256": "0" * 64}), "not the one that was signed")
    refused(site, lists(card, network, card), "twice")
    refused(site, lists(network), "lists no card")
    refused(site, lists(card), "as its manifest says")
    refused(site, lists(card, network | {"name": "manifest.json"}), "twice, or itself")
    for name in ("../x", "/x", "a/b", ".x", "", "x" * 101, "a\nb", "x\0"):
        refused(site, lists(card, network | {"name": name}), "the manifest is not valid")
    refused(site, lists(card, network | {"size": 1 << 40}), "the manifest is not valid")
    big = [network | {"name": f"n{at}", "size": 400_000_000} for at in range(2)]
    refused(site, lists(card, *big), "too large together")
    many = [network | {"name": f"n{at}"} for at in range(101)]
    refused(site, lists(card, *many), "the manifest is not valid")


def test_a_card_that_names_what_was_not_signed_is_refused(site: Site) -> None:
    """Its network lies outside the bundle: the signature would not bind it."""
    model = site.model()
    (model / "uint8io.tflite").rename(site.folder / "outside.tflite")
    card = (model / "model.toml").read_text()
    (model / "model.toml").write_text(
        card.replace("uint8io.tflite", str(site.folder / "outside.tflite"))
    )
    refused(site, site.bundle(model), "names a file that is not in the bundle")
    with pytest.raises(ModelError, match="names a file that is not in the bundle"):
        make.make(model, site.key, make.Terms(), site.folder / "out.edgemodel")


def test_a_model_that_does_not_run_is_refused_after_its_signature(site: Site) -> None:
    """The proof is that of every model; the line names the bundle, not a folder that is gone."""
    model = site.model()
    network = model / "uint8io.tflite"
    network.write_bytes(network.read_bytes()[:1000])
    refused(site, site.bundle(model), r"^\S+/x\.edgemodel/uint8io\.tflite: ")


def test_not_json_is_refused_after_its_signature(site: Site) -> None:
    """Truly signed nonsense: no JSON, deep nesting, another type, too long."""
    model = site.model()
    for wrong in (b"{", b"[" * 40_000, b"null", b"\xff\xfe", b'{"a": 1'):
        refused(site, site.packed(model, wrong), "the manifest is not valid")
    refused(site, site.packed(model, b" " * 70_000), "not a signed bundle")


def test_an_older_or_equal_serial_is_refused(site: Site) -> None:
    """Replay and downgrade; of its name alone; also after the newer model was removed."""
    old, new = site.bundle(site.model(version="1"), 100), site.bundle(site.model(version="2"), 200)
    assert put(site, old).changed
    assert put(site, new).changed
    refused(site, old, "not newer than the one that was accepted last: expected a serial above 200")
    refused(site, site.bundle(site.model(version="3"), 200), "above 200, got 200")
    refused(site, site.bundle(site.model(version="1.5"), 300), "the version is older.*expected 2")
    store.remove("hues@2")
    refused(site, site.bundle(site.model(version="3"), 150), "above 200")
    assert put(site, site.bundle(site.model("other"), 1)).serial == 1
    assert put(site, site.bundle(site.model(version="10"), 300)).name == "hues@10"


def test_the_same_bundle_again_changes_nothing_and_mends_a_removed_model(site: Site) -> None:
    """So that a rollout can be repeated; it is read to its end all the same."""
    content = site.bundle(site.model())
    assert put(site, content).changed
    before = site.on_device()
    assert not put(site, content).changed
    assert site.on_device() == before
    refused(site, content[:-1], "cut off")
    store.remove("hues@1")
    assert put(site, content).changed
    assert site.on_device() == before


def test_root_may_allow_one_downgrade(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record does not sink: the next older bundle is refused again."""
    put(site, site.bundle(site.model(version="5"), 500))
    path = site.write(site.bundle(site.model(version="4"), 400))
    record = (site.state / serials.NAME).read_bytes()
    command = ("models", "add", path, "--allow-downgrade", "--config", site.config)
    if os.geteuid():  # the command line refuses it to anyone else
        assert edge(*command).returncode != 0
        put(site, Path(path).read_bytes(), allow_downgrade=True)
    else:
        assert edge(*command).returncode == 0
    assert installed.folder("hues@4") is not None
    assert (site.state / serials.NAME).read_bytes() == record
    refused(site, site.bundle(site.model(version="3"), 300), "above 500")
    put(site, site.bundle(site.model(version="2"), 600), allow_downgrade=True)
    refused(site, site.bundle(site.model(version="3"), 700), "the version is older.*expected 5")
    refused(site, site.bundle(site.model(version="6"), 600), "above 600")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    from edge.cli import arguments, models

    args = arguments.parser().parse_args([str(word) for word in command])
    with pytest.raises(ModelError, match="only root"):
        models.prepare(args)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"hues": 3}', b"\xff", None])
def test_a_record_that_cannot_be_read_refuses_everything(site: Site, content: bytes | None) -> None:
    """It is never taken for an empty one; the line says what to do."""
    path = site.state / serials.NAME
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    refused(site, site.bundle(site.model()), r"signed\.json: the record .* cannot be read.*as root")
    done = edge("models", "add", site.write(site.bundle(site.model())), "--config", site.config)
    assert (done.returncode, len(done.stderr.splitlines())) == (78, 1)


KILLED = """
import os, sys
from pathlib import Path
from edge import config
from edge.model.signed import add
stop, calls = int(sys.argv[2]), [0]
def counted(real):
    def call(*args, **kwargs):
        calls[0] += 1
        if calls[0] > stop:
            os.kill(os.getpid(), 9)
        return real(*args, **kwargs)
    return call
for name in ("fsync", "rename", "replace", "chmod", "mkdir", "chown", "unlink", "rmdir"):
    setattr(os, name, counted(getattr(os, name)))
policy = add.policy(config.load(Path(sys.argv[3])))
add.add(add.opened(Path(sys.argv[1])), sys.argv[1], policy)
"""


def test_killed_at_any_write_the_same_bundle_can_be_added_later(site: Site) -> None:
    """SIGKILL before each call that writes: never a model without its record, never a dead end."""
    path = site.write(site.bundle(site.model()))
    assert put(site, path.read_bytes()).changed  # proven, and remembered: faster
    store.remove("hues@1")
    between = 0
    for stop in range(60):
        (site.state / serials.NAME).unlink(missing_ok=True)
        command: list[str | Path] = [sys.executable, "-c", KILLED, path, str(stop), site.config]
        done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
        model, record = installed.folder("hues@1"), serials.read()
        assert not (model and "hues" not in record)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        between += bool(record and not model)
        put(site, path.read_bytes())
        assert installed.folder("hues@1") is not None
        assert serials.read()["hues"].serial == 100
        store.remove("hues@1")
    else:
        raise AssertionError("no run ended")
    assert stop > 10
    assert between >= 1
    workspace.tidy()
    assert sorted(path.name for path in (site.state / "models").iterdir()) == ["hues@1"]


def test_two_at_once_do_not_disturb_each_other(site: Site) -> None:
    """One waits for its bytes while another is added whole; then the older one is refused."""
    old = site.bundle(site.model(version="1"), 100)
    new = site.bundle(site.model(version="2"), 200)
    read_end, write_end = os.pipe()
    raised: list[str] = []
    policy = add.policy(configs.load(site.config))

    class Slow:
        def __enter__(self) -> archive.Read:
            return lambda size: os.read(read_end, size)

        def __exit__(self, *_: object) -> None:
            return None

    def slowly() -> None:
        try:
            add.add(Slow(), "slow", policy)
        except EdgeError as exc:
            raised.append(str(exc))

    thread = threading.Thread(target=slowly)
    thread.start()
    os.write(write_end, old[:4000])  # its manifest is accepted, and its folder made
    while not list((site.state / "models").glob(".add-*/model/*")):
        time.sleep(0.01)
    assert put(site, new).changed
    assert list((site.state / "models").glob(".add-*/model/*")), "tidied away"
    os.write(write_end, old[4000:])
    os.close(write_end)
    thread.join()
    os.close(read_end)
    assert len(raised) == 1
    assert "expected a serial above 200" in raised[0]
    assert [one.reference for one in store.listing()] == ["hues@2"]
    assert not list((site.state / "models").glob(".add-*"))


def test_a_store_that_stays_locked_is_one_line(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process holds it: try again."""
    content = site.bundle(site.model())
    (site.state / "models").mkdir()
    monkeypatch.setattr(workspace, "LOCK_S", 0.1)
    holder = subprocess.Popen(
        ["flock", site.state / "models", "sh", "-c", "echo held; read line"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout
    assert holder.stdout.readline() == b"held\n"
    try:
        with (
            pytest.raises(ConfigError, match="another process changes the models"),
            workspace.locked(0.1),
        ):
            pass
    finally:
        holder.communicate(b"\n")
    assert put(site, content).changed


def test_a_full_disk_is_one_line_and_leaves_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Nth write fails, for every N: no model, or a whole one."""
    content = site.bundle(site.model())
    put(site, content)
    store.remove("hues@1")
    real, failed = os.fsync, 0
    for stop in range(20):
        (site.state / serials.NAME).unlink(missing_ok=True)
        calls = [0]

        def full(file: Any, stop: int = stop, calls: list[int] = calls) -> None:
            calls[0] += 1
            if calls[0] > stop:
                raise OSError(28, "No space left on device")
            real(file)

        monkeypatch.setattr(os, "fsync", full)
        raised = ""
        try:
            put(site, content)
        except EdgeError as exc:
            raised = str(exc)
        monkeypatch.setattr(os, "fsync", real)
        if not raised:
            break
        failed += 1
        assert "No space left" in raised
        if (there := [path.name for path in (site.state / "models").iterdir()]) != []:
            assert there == ["hues@1"]  # only its name may be lost in a power cut
            assert not put(site, content).changed
            store.remove("hues@1")
    assert failed >= 4


def test_signed_only_refuses_a_folder(site: Site) -> None:
    """No setting that a request or the page has persisted switches it off."""
    site.lines = "bundles.signed_only = true\n"
    model = site.model()
    (site.state / persisted.NAME).write_text('{"bundles": {"signed_only": false}}')
    done = edge("models", "add", model, "--config", site.config)
    assert done.returncode == 78
    assert "this device adds signed models only" in done.stderr
    assert not (site.state / "models").exists()
    loaded = configs.load(site.config, settings=persisted.read())
    assert loaded.bundles.signed_only
    assert put(site, site.bundle(model)).changed


def test_a_folder_cannot_pass_for_a_signed_model(site: Site) -> None:
    """A copy of one, changed, with its signature beside it: added unsigned, and said so."""
    content = site.bundle(site.model())
    put(site, content)
    copy = site.folder / "copy"
    shutil.copytree(site.state / "models" / "hues@1", copy)
    (copy / "notes.txt").write_text("changed")
    store.remove("hues@1")
    store.add(copy, "hues", "1")
    assert add.serial_of("hues@1") is None
    refused(site, content, "is there already")


def test_the_sha256_of_the_file_can_be_asked_for(site: Site) -> None:
    """Another bundle, though signed and newer, is refused."""
    import hashlib

    content = site.bundle(site.model())
    digest = hashlib.sha256(content).hexdigest()
    refused(site, content, "another bundle than the one asked for", sha256="0" * 64)
    assert put(site, content, sha256=digest.upper()).changed


@pytest.mark.parametrize(
    "words",
    [
        ("models", "sign", "DIR"),
        ("models", "sign", "--key", "KEY"),
        ("models", "add", "DIR", "--key", "KEY"),
        ("models", "remove", "x", "--allow-downgrade"),
        ("models", "list", "--serial", "3"),
        ("models", "add", "DIR", "--sha256", "12"),
        ("models", "sign", "DIR", "--key", "KEY", "--serial", "0"),
        ("models", "sign", "DIR", "--key", "KEY", "--expires", "soon"),
    ],
)
def test_wrong_arguments_are_status_2(site: Site, words: tuple[str, ...]) -> None:
    """With one line that says what was expected."""
    names = {"DIR": str(site.model()), "KEY": str(site.key)}
    done = edge(*[names.get(word, word) for word in words])
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_what_cannot_be_signed_is_one_line(site: Site, tmp_path: Path) -> None:
    """Another kind of key, a public one, none; no folder; a link in it; no place to write to."""
    model = site.model()
    rsa = new_key(tmp_path / "rsa", "rsa", "RSA")
    public = site.folder / "site" / "site.pem"
    for key in (rsa, public, tmp_path / "none", tmp_path):
        done = edge("models", "sign", model, "--key", key, "--out", tmp_path / "o.edgemodel")
        lines = [one for one in done.stderr.splitlines() if not one.startswith("INFO: ")]
        assert (done.returncode, len(lines)) == (78, 1), done.stderr
        assert not list(tmp_path.glob("o.*"))
    done = edge("models", "sign", tmp_path / "none", "--key", site.key)
    assert done.returncode == 78
    done = edge("models", "sign", model, "--key", site.key, "--out", tmp_path / "none" / "o")
    assert (done.returncode, "cannot be written" in done.stderr) == (1, True)
    (model / "bad name").write_text("x")
    done = edge("models", "sign", model, "--key", site.key, "--out", tmp_path / "o.edgemodel")
    assert (done.returncode, "cannot be signed" in done.stderr) == (78, True)


def test_terms_of_a_signature_are_kept(site: Site) -> None:
    """Serial, end and devices, as they were asked for."""
    out = site.folder / "t.edgemodel"
    options = ("--serial", "7", "--expires", "2100-01-31", "--device", "wall", "--device", "p-*")
    done = edge("models", "sign", site.model(), "--key", site.key, "--out", out, *options)
    assert done.returncode == 0, done.stderr
    assert put(site, out.read_bytes()).serial == 7
    kept = site.state / "models" / "hues@1" / manifest.FILE
    what = manifest.decode(kept.read_bytes(), "kept")
    assert (what.expires, what.devices) == (4_105_036_800, ("wall", "p-*"))


def test_a_shipped_name_is_not_signed(site: Site) -> None:
    """No device would accept it."""
    with pytest.raises(EdgeError, match="belongs to a model that comes with this program"):
        make.make(ROOT / "models" / "catdog", site.key, make.Terms(), site.folder / "out")
    assert not (site.folder / "out").exists()


def test_a_record_that_is_no_utf_8_refuses_in_one_line(site: Site) -> None:
    """As any other damage of it."""
    (site.state / serials.NAME).write_bytes(b'{"hues": "\xff"}')
    refused(site, site.bundle(site.model()), serials.NAME)


def test_the_record_is_never_written_through_a_link(site: Site, tmp_path: Path) -> None:
    """Somebody else may have put one in the place of the file that becomes it."""
    victim = tmp_path / "victim"
    victim.write_text("root's own")
    victim.chmod(0o600)
    (site.state / f".{serials.NAME}.part").symlink_to(victim)
    put(site, site.bundle(site.model()))
    assert (victim.read_text(), victim.stat().st_mode & 0o777) == ("root's own", 0o600)
    assert not (site.state / serials.NAME).is_symlink()


def test_openssl_missing_is_one_line(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the package that has it."""
    monkeypatch.setattr(keys, "PATH", "/nowhere")
    refused(site, site.bundle(site.model()), "`openssl` is missing; sudo apt install openssl")


@pytest.fixture(scope="module")
def own_state() -> Iterator[None]:
    """The environment is afterwards as it was before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STATE_DIRECTORY", "")
        yield


@pytest.mark.usefixtures("own_state")
@fuzz(60)
@given(data=st.data())
def test_no_changed_bundle_is_accepted(tmp_path_factory: Any, data: st.DataObject) -> None:
    """Bytes set, flipped, inserted, cut, repeated: one line, nothing installed, no record."""
    site = _fuzzed(tmp_path_factory)
    os.environ["STATE_DIRECTORY"] = str(site.state)  # `own_state` takes it back
    whole = site.bundle(site.folder / "model-1") if not (site.folder / "w").exists() else b""
    if whole:
        (site.folder / "w").write_bytes(whole)
    content = (site.folder / "w").read_bytes()
    changed = data.draw(mutated([content]))
    if changed == content:
        return
    before = site.on_device()
    path = site.write(changed)
    policy = add.policy(configs.load(site.config))
    with pytest.raises(EdgeError) as raised:
        add.add(add.opened(path), str(path), policy)
    assert not re.search(r"[\n\x1b]", str(raised.value))
    assert site.on_device() == before


_made: list[Site] = []


def _fuzzed(factory: Any) -> Site:
    """Return one site for all examples."""
    if not _made:
        _made.append(Site(factory.mktemp("fuzzed")))
        _made[0].model()
    return _made[0]
