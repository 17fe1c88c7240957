"""Root becomes the owner of a folder before it changes anything in it, and stays that user.

The owner of a folder can replace every name in it at any time. What root would make, give away,
rename or remove there could be anywhere else by then. As the owner, a process can do in the folder
what the owner can do anyway, and nothing more elsewhere.

Rule 1: a path is followed from `/`, links too. As long as everything on it is root's and nobody
        else may write it, nobody else decides where it leads. The first folder or link of another
        user decides: from there on that user can change everything. A folder of root's that
        others may write is refused, because then there is no such user.
Rule 2: there is no way back: all three user ids, all three group ids and every other group are
        given up, which is verified; so is root's environment.
Rule 3: where all of the path is root's, nothing changes.

What only root can read is opened before. Linux only; main thread, before others open files.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.errors import ConfigError

LINKS_MAX: Final = 40
"""As the kernel's own limit. Source: path_resolution(7)."""
OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
ACL: Final = "system.posix_acl_access"
KEPT: Final = re.compile(
    r"(PATH|LANG|LANGUAGE|LC_[A-Z]+|TZ|TERM|NO_COLOR|COLUMNS|(STATE|RUNTIME)_DIRECTORY"
    r"|LISTEN_(PID|FDS)|INVOCATION_ID|JOURNAL_STREAM|(OMP|OPENBLAS)_NUM_THREADS"
    r"|OPENCV_(LOG_LEVEL|IO_MAX_IMAGE_PIXELS|FFMPEG_LOGLEVEL))\Z"
)
"""Of the environment: that user can read a child's in /proc, with every secret of root's in it."""
CLONE_NEWNS: Final = 0x0002_0000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_SLAVE = 0x2, 0x4, 0x1000, 0x4000, 0x8_0000
"""Source: unshare(2), mount(2)."""
_became = False


@dataclass(frozen=True, slots=True)
class Owner:
    """The user who decides about a path.

    place   the first folder or link on the path that is this user's
    closed  the first folder before it that the user may not enter; None where there is none
    """

    uid: int
    gid: int
    place: Path
    closed: Path | None


def became() -> bool:
    """Return whether this process was root and has become another user."""
    return _became


def of(path: Path) -> Owner | None:
    """Return who decides about ``path``, which need not exist; None where that is root alone.

    For root. Raises ConfigError for a folder of root's that others may write; OSError.
    """
    at, rest, links = Path("/"), [*reversed(path.absolute().parts[1:])], 0
    while rest:
        shared = _is_shared(at)
        name = rest.pop()
        if name == "..":
            at = at.parent
            continue
        step = at / name
        try:
            status = step.lstat()
        except (FileNotFoundError, NotADirectoryError):
            if shared:
                raise ConfigError(
                    "is not there, and others may put something in its place",
                    where=str(step),
                    hint="make it first",
                ) from None
            return None
        if status.st_uid:
            return _owner(step, status)
        if not stat.S_ISLNK(status.st_mode):
            at = step
            continue
        links += 1
        if links > LINKS_MAX:
            raise ConfigError("too many symbolic links", where=str(path))
        target = Path(step.readlink())
        at = Path("/") if target.is_absolute() else at
        rest += reversed(target.parts[1:] if target.is_absolute() else target.parts)
    if _is_shared(at) and at.is_dir():
        raise _refused(at)
    return None


def will_become(path: Path) -> bool:
    """Return whether ``become`` makes this process another user. Raises ConfigError."""
    try:
        return os.geteuid() == 0 and of(path) is not None
    except OSError as exc:
        raise ConfigError(f"cannot be read: {exc.strerror}", where=str(path)) from exc


def become(path: Path) -> None:
    """Become the user who decides about ``path``, where this process is root. Raises ConfigError.

    From then on files are made for this user alone (umask 077).
    """
    global _became
    if os.geteuid() != 0:
        return
    try:
        owner = of(path)
        if owner is None:
            return
        os.umask(0o077)
        if owner.closed is not None:
            _show(owner.place, owner.closed)
        os.setgroups([])
        os.setresgid(owner.gid, owner.gid, owner.gid)
        os.setresuid(owner.uid, owner.uid, owner.uid)
    except OSError as exc:
        raise ConfigError(
            f"root cannot become the owner of the folder: {exc.strerror}",
            where=str(path),
            hint="run it as that user",
        ) from exc
    _became = True
    for name in [name for name in os.environ if not KEPT.match(name)]:
        del os.environ[name]
    os.environ["HOME"] = "/nonexistent"
    ids = (*os.getresuid(), *os.getresgid(), *os.getgroups())
    if ids != (*[owner.uid] * 3, *[owner.gid] * 3) or _is_root_again():
        raise ConfigError("root's rights could not be given up", where=str(path))


def _is_shared(folder: Path) -> bool:
    """Return whether others may add names to a folder of root's. ConfigError where also replace."""
    status = folder.lstat()
    group_is_root = not status.st_gid and not _has_acl(folder)
    writers = status.st_mode & (stat.S_IWOTH if group_is_root else OTHERS_WRITE)
    if writers and stat.S_ISDIR(status.st_mode) and not status.st_mode & stat.S_ISVTX:
        raise _refused(folder)
    return bool(writers)


def _has_acl(folder: Path) -> bool:
    """Return whether a folder has an access control list: its group's bits are then the mask.

    The mask is what any user or group in the list may have at most. Source: acl(5).
    """
    try:
        os.getxattr(folder, ACL)
    except OSError:  # none, or a file system that has none
        return False
    return True


def _refused(folder: Path) -> ConfigError:
    return ConfigError(
        "others may change what is in this folder",
        where=str(folder),
        expected="a folder that its owner alone may write",
        hint=f"chmod go-w {folder} (with an ACL, its mask), or give it to the service's user",
    )


def _owner(place: Path, status: os.stat_result) -> Owner:
    uid = status.st_uid
    try:  # not the folder's group: its owner need not be a member
        gid = pwd.getpwuid(uid).pw_gid
    except KeyError:
        gid = uid  # as systemd does for a user that it makes for the run
    closed = (folder for folder in reversed(place.parents) if not _may_enter(folder, gid))
    return Owner(uid, gid, place, next(closed, None) if stat.S_ISDIR(status.st_mode) else None)


def _may_enter(folder: Path, gid: int) -> bool:
    """Return whether one who is not its owner may enter a folder."""
    status = folder.lstat()
    return bool(status.st_mode & (stat.S_IXGRP if status.st_gid == gid else stat.S_IXOTH))


def _show(place: Path, closed: Path) -> None:
    """Have this process, and no other, see nothing but ``place`` below ``closed``. Raises OSError.

    systemd keeps the state of a user that it makes for the run below /var/lib/private, which only
    root may enter, and shows it to the service in the same way. Source: mount_namespaces(7).
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def call(result: int) -> None:
        if result:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def mount(source: str, target: str, kind: str | None, flags: int, options: str | None) -> None:
        words = (source, target, kind)
        texts = [None if word is None else os.fsencode(word) for word in words]
        call(libc.mount(*texts, ctypes.c_ulong(flags), options and options.encode()))

    call(libc.unshare(CLONE_NEWNS))
    mount("none", "/", None, MS_REC | MS_SLAVE, None)
    folder = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        mount("edge", str(closed), "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=64k")
        for parent in (*reversed(place.parents), place):
            if closed in parent.parents:
                parent.mkdir()
                parent.chmod(0o755)
        mount(f"/proc/self/fd/{folder}", str(place), None, MS_BIND | MS_REC, None)
    finally:
        os.close(folder)


def _is_root_again() -> bool:
    try:
        os.setuid(0)
    except OSError:
        return False
    return True
