"""`make flash` with bmaptool, on loop devices and plain files in place of an SD card."""

from __future__ import annotations

import os
import pty
import random
import signal
import struct
import subprocess
import time
from pathlib import Path

import pytest

from deploy.image import provision
from deploy.sdcard import image as images
from deploy.sdcard import readback
from deploy.sdcard.flash import main
from deploy.sdcard.refusal import FlashError
from tests.conftest import ROOT
from tests.loops import attached, needs_root

MIB = 1 << 20
SIZE = 200 * MIB + 512
"""No whole number of blocks."""
PIECES = {0: 4096, 1 * MIB: 3 * MIB, 40 * MIB: 12 * MIB, 150 * MIB: 70_000, SIZE - 9 * 512: 9 * 512}
"""Where the image holds something, and how much."""
OLD = b"what was on the SD card"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sparse image of 200 MB, plain and packed, with its bmap by bmaptool."""
    made = tmp_path_factory.mktemp("images")
    plain = made / "sdcard.img"
    with plain.open("wb") as stream:
        stream.truncate(SIZE)
        for start, length in PIECES.items():
            stream.seek(start)
            stream.write(random.Random(start).randbytes(length))
        stream.seek(510)
        stream.write(b"\x55\xaa")
    run("bmaptool", "create", "--output", str(made / "sdcard.bmap"), str(plain))
    for program, suffix in (("zstd", "zst"), ("xz", "xz"), ("gzip", "gz")):
        fast = ["-1", "--keep"] if program != "zstd" else ["-1"]
        run(program, "--quiet", *fast, str(plain))
        assert (made / f"sdcard.img.{suffix}").exists()
    return made


def run(*command: str) -> None:
    """Run what a test needs."""
    subprocess.run(command, check=True, capture_output=True)


def command(device: Path, image: Path, *options: str) -> list[str]:
    """Return what `make flash` runs."""
    return [
        *("/usr/bin/python3", "-B", "-m", "deploy.sdcard.flash", "--device", str(device)),
        *("--image", str(image), *options),
    ]


def flash(
    device: Path, image: Path, tools: Path | None = None, **done: str
) -> subprocess.CompletedProcess[str]:
    """Flash, without questions where ``asked`` says nothing else; ``tools`` come first on PATH."""
    done = {"force": "1", "serial": device.name, **done}
    options = [word for name, value in done.items() for word in (f"--{name}", value)]
    return subprocess.run(
        command(device, image, *options),
        cwd=ROOT,
        env=environment(tools),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def environment(tools: Path | None) -> dict[str, str]:
    """Return the environment, with programs of a test's own first."""
    found = f"/usr/sbin:{os.environ['PATH']}"
    return {**os.environ, "PATH": f"{tools}:{found}" if tools else found}


def last(done: subprocess.CompletedProcess[str]) -> str:
    """Return the last line on stderr."""
    return done.stderr.splitlines()[-1]


def sdcard(tmp_path: Path, size: int = 256 * MIB) -> Path:
    """Return a plain file with something on it, everywhere between the pieces."""
    path = tmp_path / "a-sdcard"
    with path.open("wb") as stream:
        stream.truncate(size)
        for at in (10 * MIB, 100 * MIB, size - 4096):
            stream.seek(at)
            stream.write(OLD)
    return path


def holds(path: Path, folder: Path) -> bool:
    """Return whether the whole image is on it."""
    with path.open("rb") as there, (folder / "sdcard.img").open("rb") as image:
        for start, length in PIECES.items():
            there.seek(start)
            image.seek(start)
            if there.read(length) != image.read(length):
                return False
    return True


@needs_root
@pytest.mark.parametrize("name", ["sdcard.img", "sdcard.img.zst", "sdcard.img.xz", "sdcard.img.gz"])
def test_a_device_gets_the_image(folder: Path, tmp_path: Path, name: str) -> None:
    """Every mapped byte; the others stay as they were, since nothing reads them."""
    backing = sdcard(tmp_path)
    with attached(backing, 256 * MIB) as device:
        run("mke2fs", "-q", "-b", "1024", "-L", "holidays", str(device), "1024")
        done = flash(device, folder / name)
        assert f"flash:   {device} 256M ext2 holidays\n" in done.stdout
        assert done.returncode == 0, done
        assert "16 MB of its 210 MB are written" in done.stdout
        assert f"{device} holds {name}, read back and verified" in done.stdout
        assert holds(device, folder)
    with backing.open("rb") as stream:
        stream.seek(100 * MIB)
        assert stream.read(len(OLD)) == OLD


@needs_root
def test_without_a_bmap_everything_is_written(folder: Path, tmp_path: Path) -> None:
    """The empty parts too."""
    (tmp_path / "bare.img.zst").symlink_to(folder / "sdcard.img.zst")
    backing = sdcard(tmp_path)
    with attached(backing, 256 * MIB) as device:
        done = flash(device, tmp_path / "bare.img.zst")
        assert done.returncode == 0, done
        assert "(no bmap)" in done.stdout
    same = subprocess.run(
        ["cmp", f"--bytes={SIZE}", backing, folder / "sdcard.img"], capture_output=True, check=False
    )
    assert same.returncode == 0, same


def test_a_plain_file_gets_the_image(folder: Path, tmp_path: Path) -> None:
    """Instead of an SD card; its serial is its name."""
    path = sdcard(tmp_path)
    done = flash(path, folder / "sdcard.img.zst")
    assert done.returncode == 0, done
    assert holds(path, folder)


@pytest.mark.parametrize("at", [0, 45 * MIB + 7, SIZE - 1])
def test_one_wrong_byte_is_found(folder: Path, tmp_path: Path, at: int) -> None:
    """As on a worn-out SD card, which accepts a write and returns something else."""
    path = sdcard(tmp_path)
    tools = tmp_path / "tools"
    program(
        tools / "bmaptool",
        f"""
        /usr/bin/bmaptool "$@"
        byte=$(od -An -tu1 -j {at} -N 1 {path})
        printf "\\\\$(printf %03o $((byte ^ 1)))" |
          dd of={path} bs=1 seek={at} conv=notrunc status=none
        """,
    )
    done = flash(path, folder / "sdcard.img.zst", tools)
    assert done.returncode == 80, done
    assert f"{path}: reading back gives other bytes than were written" in last(done)


def program(path: Path, script: str) -> None:
    """Write a shell script that can be run."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\nset -eu\n" + script)
    path.chmod(0o755)


def test_ctrl_c_says_that_the_sdcard_is_half_written(folder: Path, tmp_path: Path) -> None:
    """In the middle of copying, when half is written."""
    path, tools, slow = sdcard(tmp_path), tmp_path / "tools", tmp_path / "slow"
    fifo = tmp_path / "fifo"
    program(tools / "bmaptool", f'PATH={slow}:$PATH exec /usr/bin/bmaptool "$@"\n')
    half = f"/usr/bin/zstd -dc {folder}/sdcard.img.zst | head -c {50 * MIB}"
    program(slow / "zstd", f"{half}\nread _ <{fifo}\n")
    os.mkfifo(fifo)  # that nobody writes to
    options = ("--force", "1", "--serial", path.name)
    with subprocess.Popen(
        command(path, folder / "sdcard.img.zst", *options),
        cwd=ROOT,
        env=environment(tools),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        until = time.monotonic() + 60
        while not (path.stat().st_size == SIZE and written(path, 1 * MIB)):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, output = process.communicate()
    assert process.returncode == 130, output
    line = output.splitlines()[-1]
    assert line == f"flash: {path}: the SD card is half written: write it again before use"
    assert "Traceback" not in output


def written(path: Path, at: int) -> bool:
    """Return whether a file has data at ``at``."""
    with path.open("rb") as stream:
        stream.seek(at)
        return any(stream.read(16))


@pytest.mark.parametrize("typed", ["a-sdcard", "another", ""])
def test_the_serial_can_be_typed(folder: Path, tmp_path: Path, typed: str) -> None:
    """On a terminal; nothing is written unless it is the right one."""
    path = sdcard(tmp_path)
    main, terminal = pty.openpty()
    os.write(main, f"{typed}\n".encode())
    done = subprocess.run(
        command(path, folder / "sdcard.img.zst", "--force", "1"),
        cwd=ROOT,
        env=environment(None),
        stdin=terminal,
        capture_output=True,
        text=True,
        check=False,
    )
    os.close(terminal)
    os.close(main)
    assert "this is not an SD card; type its serial (a-sdcard): " in done.stdout
    assert done.returncode == (0 if typed == "a-sdcard" else 78), done
    assert holds(path, folder) == (typed == "a-sdcard")


def test_without_a_terminal_the_answer_is_no(folder: Path, tmp_path: Path) -> None:
    """For a script without YES=1."""
    done = flash(sdcard(tmp_path), folder / "sdcard.img.zst", serial="")
    assert (done.returncode, "no terminal to ask on" in last(done)) == (78, True)


def test_unknown_content_is_never_called_empty(folder: Path, tmp_path: Path) -> None:
    """blkid prints nothing for unknown content, and nothing for several signatures."""
    path = tmp_path / "a-sdcard"
    with path.open("wb") as stream:
        stream.truncate(256 * MIB)
    done = flash(path, folder / "sdcard.img", serial="")
    assert "flash:   no known content\n" in done.stdout
    run("mke2fs", "-q", "-F", "-b", "1024", str(path))
    with path.open("r+b") as stream:  # a FAT before it, in the sector that ext2 leaves alone
        stream.write(fat())
    done = flash(path, folder / "sdcard.img", serial="")
    assert "flash:   several signatures\n" in done.stdout


def fat() -> bytes:
    """Return the boot sector of a FAT32 of 64 MiB."""
    sector = bytearray(512)
    sector[:11] = b"\xeb\x58\x90mkfs.fat"
    sector[11:36] = struct.pack("<HBHBHHBHHHII", 512, 1, 32, 2, 0, 0, 0xF8, 0, 32, 64, 0, 1 << 17)
    sector[36:40] = struct.pack("<I", 1024)
    sector[82:90] = b"FAT32   "
    sector[510:] = b"\x55\xaa"
    return bytes(sector)


@needs_root
def test_ctrl_c_after_the_last_byte_says_that_it_is_complete(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """While the kernel reads the new partitions, which takes long on a bad reader."""

    def interrupted(_: Path) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(readback, "reread_partitions", interrupted)
    monkeypatch.setenv("PATH", environment(None)["PATH"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with attached(sdcard(tmp_path), 256 * MIB) as device:
        given = command(device, folder / "sdcard.img", "--force", "1", "--serial", device.name)
        assert main(given[given.index("--device") :]) == 130
        assert holds(device, folder)
    assert f"{device}: completely written and verified" in capsys.readouterr().err


def test_a_small_sdcard_is_refused(folder: Path, tmp_path: Path) -> None:
    """By a single byte."""
    path = sdcard(tmp_path, SIZE - 1)
    done = flash(path, folder / "sdcard.img.zst")
    assert done.returncode == 75, done
    assert last(done).endswith(f"too small: expected {SIZE:,} bytes, got {SIZE - 1:,}")


def damaged(folder: Path, into: Path, name: str, kind: str) -> Path:
    """Return a damaged image, with its bmap."""
    path = into / name
    packed = bytearray((folder / name).read_bytes())
    bmap = (folder / "sdcard.bmap").read_text()
    if kind == "cut short":
        del packed[len(packed) // 2 :]
    elif kind == "another byte":
        packed[len(packed) // 2 if name != "sdcard.img" else 45 * MIB] ^= 1
    elif kind == "another bmap":
        bmap = bmap.replace("<Range", "<Rage", 1)
    elif kind == "longer":
        packed += bytes(4096)
    elif kind == "no table":
        packed[510] = 0
        bmap = ""
    path.write_bytes(packed)
    if bmap:
        (into / "sdcard.bmap").write_text(bmap)
    return path


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("sdcard.img.zst", "cut short", "the image is damaged"),
        ("sdcard.img.xz", "cut short", "Unexpected end of input"),
        ("sdcard.img.gz", "another byte", "the image is damaged"),
        ("sdcard.img", "another byte", "do not match"),
        ("sdcard.img", "cut short", "the image is damaged"),
        ("sdcard.img", "longer", "bytes, 209,715,712 in"),
        ("sdcard.img", "no table", "no partition table"),
        ("sdcard.img.zst", "another bmap", "not a bmap"),
    ],
)
def test_a_damaged_image_is_never_written(
    folder: Path, tmp_path: Path, name: str, kind: str, words: str
) -> None:
    """It is read to its end before the question and the writing."""
    path = sdcard(tmp_path)
    before = path.stat().st_mtime_ns
    (tmp_path / "images").mkdir()
    done = flash(path, damaged(folder, tmp_path / "images", name, kind))
    assert done.returncode == 65, done
    assert words in last(done)
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["missing.img", "sdcard.bmap", "."])
def test_other_files_are_refused(folder: Path, tmp_path: Path, name: str) -> None:
    """Missing, or something else by name."""
    assert flash(sdcard(tmp_path), folder / name).returncode == 66


def test_the_newest_image_is_the_default(folder: Path, tmp_path: Path) -> None:
    """Where no IMAGE is given; and what to do where there is none."""
    with pytest.raises(FlashError, match="run `make image`"):
        images.newest(tmp_path)
    made = provision.result(Path("2025-10-01-raspios-trixie-arm64-lite.img.xz")).name
    for name, at in (("edge-b.img.zst", 1000), (f"{made}.zst", 2000)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (at, at))
    assert images.newest(tmp_path).name == "2025-10-01-raspios-trixie-arm64-lite-edge.img.zst"


def test_a_failed_copy_leaves_an_sdcard_half_written(folder: Path, tmp_path: Path) -> None:
    """The real bmaptool, its output on a full disk."""
    path = sdcard(tmp_path)
    tools = tmp_path / "tools"
    program(tools / "bmaptool", 'ulimit -f 20000\nexec /usr/bin/bmaptool "$@"\n')
    done = flash(path, folder / "sdcard.img", tools)
    assert done.returncode == 70, done
    assert "the SD card is half written" in last(done)
