"""Boots Debian's kernel and runs one command in it.

The root is a folder, shared and read only, or an image of ext4; changes are lost. A
small initramfs brings the kernel's modules. Emulated, so nothing measured in it is a figure of
any real machine. The first command runs after 6 to 12 s; a folder's many small files are slow.

    python -m tests.vm.machine --kernel build/vm/kernel --driver 'vivid n_devs=1' -- ls /dev
"""

from __future__ import annotations

import argparse
import lzma
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TextIO

HERE: Final = Path(__file__).resolve().parent
LOADED: Final = (
    *(
        "virtio_pci",
        "virtio_blk",
        "crc32c_generic",
        "ext4",
        "9pnet_virtio",
        "9p",
        "overlay",
        "virtio_rng",
    ),
    "configfs",
)
"""Modules that the machine loads before anything else."""
BUSYBOX: Final = Path(shutil.which("busybox") or "/bin/busybox")
VIVID: Final = "vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0x0"
"""One plain webcam at /dev/video0."""


def boot(
    kernel: Path,
    command: list[str],
    *,
    root: Path = Path("/"),
    folders: tuple[Path, ...] = (),
    drivers: tuple[str, ...] = (),
    env: Mapping[str, str] | None = None,
    cwd: Path = Path("/"),
    share: Path | None = None,
    timeout_s: float = 600.0,
    memory: str = "2G",
    tell: TextIO | None = None,
) -> tuple[int, str]:
    """Return the status of ``command`` and what it wrote.

    kernel   a folder with an unpacked linux-image package: boot/vmlinuz-*, its modules
    root     a folder, or a file with an ext4 file system
    folders  of this machine, seen read only at the same place in the other
    drivers  kernel modules to load before the command, each with its parameters
    env      beside PATH and HOME, all that the command has
    share    a folder that the command can write, at /run/share
    tell     where to write what the command writes, while it runs
    Raises TimeoutError where it has not ended in time, RuntimeError where the machine has died.
    """
    with tempfile.TemporaryDirectory(prefix="edge-vm-") as made:
        work = Path(made)
        share = share or work / "share"
        share.mkdir(exist_ok=True)
        (share / "status").unlink(missing_ok=True)
        (share / "log").write_bytes(b"")
        (share / "job").write_text(_job(command, env or {}, cwd))
        tags = [(f"folder{number}", path.resolve()) for number, path in enumerate(folders)]
        (share / "folders").write_text("".join(f"{tag} {path}\n" for tag, path in tags))
        (work / "initrd").write_bytes(initramfs(kernel, (*LOADED, *drivers)))
        image = next((kernel / "boot").glob("vmlinuz-*"))
        qemu = [
            *("qemu-system-x86_64", "-accel", os.environ.get("VM_ACCEL", "tcg,thread=multi")),
            *("-cpu", "max", "-smp", "2", "-m", memory, "-nographic", "-no-reboot", "-nodefaults"),
            *("-serial", "stdio", "-kernel", str(image), "-initrd", str(work / "initrd")),
            *("-append", f"console=ttyS0 panic=-1 quiet mitigations=off image={root.is_file():d}"),
            *("-device", "virtio-rng"),
            *_shared("share", share, "security_model=none"),
        ]
        if root.is_file():
            qemu += ["-drive", f"file={root},format=raw,if=virtio,snapshot=on"]
        else:
            tags.append(("root", root))
        for tag, path in tags:
            qemu += _shared(tag, path, "security_model=none,multidevs=remap,readonly=on")
        console = work / "console"
        with console.open("wb") as out, (share / "log").open(errors="replace") as log:
            machine = subprocess.Popen(
                qemu, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
            )
            try:
                written = _follow(machine, log, timeout_s, tell)
            except BaseException:
                machine.kill()
                machine.wait()
                raise
        try:
            return int((share / "status").read_text()), written
        except (OSError, ValueError) as exc:
            screen = console.read_text(errors="replace")
            raise RuntimeError(f"the machine has died\n{screen}\n{written}") from exc


def _shared(tag: str, path: Path, options: str) -> tuple[str, str]:
    return "-virtfs", f"local,path={path},mount_tag={tag},{options}"


def _job(command: list[str], env: Mapping[str, str], cwd: Path) -> str:
    """Return the shell script that runs ``command``."""
    settings = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", **env}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in settings.items()]
    return "\n".join([*lines, f"cd {shlex.quote(str(cwd))}", "exec " + shlex.join(command), ""])


def _follow(
    machine: subprocess.Popen[bytes], log: TextIO, timeout_s: float, tell: TextIO | None
) -> str:
    """Return what is written to ``log`` until the machine ends."""
    until, written = time.monotonic() + timeout_s, []
    while True:
        ended = machine.poll() is not None
        written.append(log.read())
        if tell:
            tell.write(written[-1])
            tell.flush()
        if ended:
            return "".join(written)
        if time.monotonic() > until:
            raise TimeoutError(f"not done after {timeout_s:g} s\n" + "".join(written))
        time.sleep(0.1)


def initramfs(
    kernel: Path,
    drivers: tuple[str, ...],
    *,
    init: Path = HERE / "init.sh",
    busybox: Path = BUSYBOX,
) -> bytes:
    """Return a cpio archive: busybox, the modules, and in which order to load them."""
    entries: list[tuple[str, int, bytes]] = [
        *((name, 0o40755, b"") for name in ("bin", "dev", "proc", "lower", "memory", "root")),
        ("bin/busybox", 0o100755, busybox.read_bytes()),
        ("bin/sh", 0o120777, b"busybox"),
        ("init", 0o100755, init.read_bytes()),
        ("modules", 0o40755, b""),
    ]
    places = (kernel / "lib" / "modules", kernel / "usr" / "lib" / "modules")
    folder = next(path for place in places for path in place.glob("*"))
    order = ""
    for path, parameters in needed(folder, drivers):
        content = path.read_bytes()
        if path.suffix == ".xz":
            content = lzma.decompress(content)
        name = path.name.partition(".")[0]
        entries.append((f"modules/{name}", 0o100644, content))
        order += f"{name} {parameters}\n"
    entries.append(("modules/order", 0o100644, order.encode()))
    return b"".join(map(_member, entries)) + _member(("TRAILER!!!", 0, b""))


def needed(folder: Path, drivers: tuple[str, ...]) -> list[tuple[Path, str]]:
    """Return files of modules with their parameters, each after those that it needs.

    Raises ValueError where a module is neither there nor built in. Source: modules.dep(5).
    """
    depends = {}
    for line in _dependencies(folder).splitlines():
        module, _, others = line.partition(":")
        depends[module] = others.split()
    files = {_name(path): path for path in depends}
    built_in = {_name(path) for path in (folder / "modules.builtin").read_text().split()}
    order: dict[str, str] = {}
    for driver in drivers:
        name, _, parameters = driver.partition(" ")
        if name in files:
            for one in reversed(depends[files[name]]):
                order.setdefault(one, "")
            order[files[name]] = parameters
        elif name not in built_in:
            raise ValueError(f"{folder}: has no module {name}")
    return [(folder / path, parameters) for path, parameters in order.items()]


def _name(path: str) -> str:
    return Path(path).name.partition(".")[0].replace("-", "_")


def _dependencies(folder: Path) -> str:
    """Return modules.dep, which only an installed kernel has."""
    if not (folder / "modules.dep").is_file():
        base = folder.parent.parent.parent
        subprocess.run(
            [shutil.which("depmod") or "/sbin/depmod", "-b", base, folder.name], check=True
        )
    return (folder / "modules.dep").read_text()


def _member(entry: tuple[str, int, bytes]) -> bytes:
    """Return one file of a cpio archive, format newc. Source: cpio(5)."""
    name, mode, content = entry
    path = name.encode() + b"\0"
    numbers = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
    head = b"070701" + b"".join(b"%08X" % number for number in numbers) + path
    return head + b"\0" * (-len(head) % 4) + content + b"\0" * (-len(content) % 4)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kernel", type=Path, required=True)
    parser.add_argument("--root", type=Path, default=Path("/"))
    parser.add_argument("--folder", type=Path, action="append", default=[])
    parser.add_argument("--driver", action="append", default=[], help="such as 'vivid n_devs=1'")
    parser.add_argument("--cwd", type=Path, default=Path("/"))
    parser.add_argument("--timeout", type=float, default=600.0)
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    status, _ = boot(
        args.kernel,
        args.command,
        root=args.root,
        folders=tuple(args.folder),
        drivers=tuple(args.driver),
        cwd=args.cwd.resolve(),
        timeout_s=args.timeout,
        tell=sys.stdout,
    )
    sys.exit(status)
