"""A .deb made again from the installed files, to go back to.

Source: deb(5), dpkg-query(1); dpkg-repack does the same, but no device has it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from deploy.on_device.state import run

INFO: Final = Path("/var/lib/dpkg/info")
CONTROL: Final = (
    *("preinst", "postinst", "prerm", "postrm", "conffiles", "md5sums", "triggers"),
    *("shlibs", "symbols", "config", "templates"),
)
"""Files of a package's control archive that dpkg keeps."""


def repack(name: str, to: Path) -> None:
    """Write ``to`` from an installed package: its files and its control archive, as dpkg keeps it.

    Raises OSError, subprocess.SubprocessError.
    """
    with tempfile.TemporaryDirectory(dir=to.parent) as made:
        tree, control = Path(made), Path(made) / "DEBIAN"
        os.chmod(tree, 0o755)
        control.mkdir(mode=0o755)
        fields, conffiles = stanza(run("dpkg-query", "-s", name).stdout)
        listed = [Path(line) for line in run("dpkg-query", "-L", name).stdout.splitlines()]
        folders = {parent for path in listed for parent in path.parents}
        for path in listed[1:]:  # after /. itself; every folder comes before its files
            there = tree / path.relative_to("/")
            # A conffile may be a link to the owner's file: `mark` must not write through it.
            own = path in conffiles
            if not (path.exists() if own else os.path.lexists(path)):  # documents may be excluded
                continue
            if path in folders or (path.is_dir() and not path.is_symlink()):
                there.mkdir()
                shutil.copymode(path, there)
            else:
                shutil.copy2(path, there, follow_symlinks=own)
        for kind in CONTROL:
            if (INFO / f"{name}.{kind}").exists():
                shutil.copy2(INFO / f"{name}.{kind}", control / kind)
        (control / "control").write_text(fields)
        for path, md5 in conffiles.items():
            mark(tree / path.relative_to("/"), md5)
        part = to.with_suffix(".part")
        run("dpkg-deb", "-Znone", "--root-owner-group", "-b", str(tree), str(part))
        os.chmod(part, 0o600)  # it holds the owner's config
        part.replace(to)


def stanza(text: str) -> tuple[str, dict[Path, str]]:
    """Return a control file, and conffiles with their checksums, from `dpkg-query -s`."""
    kept, conffiles, field = [], {}, ""
    for line in text.splitlines():
        field = field if line.startswith(" ") else line.partition(":")[0]
        if field == "Conffiles" and line.startswith(" "):
            name, md5, *obsolete = line.split()
            if not obsolete:
                conffiles[Path(name)] = md5
        elif field not in ("Status", "Conffiles", "Config-Version"):
            kept.append(line)
    return "\n".join(kept).strip() + "\n", conffiles


def mark(path: Path, md5: str) -> None:
    """Make the packaged copy of a conffile that the owner has edited differ from the edited file.

    dpkg stores the packaged file's checksum, and a later upgrade replaces a file that matches it.
    Going back keeps the owner's file; a later upgrade must keep it too.
    """
    now = path.read_bytes() if path.exists() else b""
    if hashlib.md5(now, usedforsecurity=False).hexdigest() != md5:
        path.parent.mkdir(parents=True, exist_ok=True)  # the owner may have removed the folder
        path.write_bytes(now + b"\n# as packed for going back; the file in use was kept\n")
