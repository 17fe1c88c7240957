"""Who decides about a path, and how root becomes that user: for good."""

from __future__ import annotations

import ast
import errno
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge import owner
from edge.cli import arguments, commands
from edge.errors import ConfigError
from tests.conftest import ROOT, edge
from tests.other_user import FOR_ROOT, USER, give, reachable

pytestmark = FOR_ROOT


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that every user may enter."""
    with reachable() as folder:
        yield folder


GIVEN_UP = """
import json, os, subprocess, sys, threading
from pathlib import Path
from edge import owner
wait = threading.Event()
threading.Thread(target=wait.wait).start()
owner.become(Path(sys.argv[1]))
def refused(call, *words):
    try:
        call(*words)
    except PermissionError:
        return True
    return False
tasks = [path.read_text() for path in Path("/proc/self/task").glob("*/status")]
lines = [line.split() for text in tasks for line in text.splitlines()]
print(json.dumps({
    "ids": [line[1:] for line in lines if line[0] in ("Uid:", "Gid:")],
    "groups": [line[1:] for line in lines if line[0] == "Groups:"],
    "caps": [line[1] for line in lines if line[0] in ("CapPrm:", "CapEff:", "CapAmb:")],
    "refused": [
        refused(os.setuid, 0), refused(os.seteuid, 0), refused(os.setresuid, 0, 0, 0),
        refused(os.setgid, 0), refused(os.setgroups, [0]),
        refused(os.chown, sys.argv[1], 0, 0), refused(os.listdir, sys.argv[2]),
    ],
    "umask": os.umask(0), "became": owner.became(),
    "environment": subprocess.check_output(["cat", "/proc/self/environ"], text=True),
}))
wait.set()
"""


def test_there_is_no_way_back(home: Path) -> None:
    """Of no thread: no id, no group, no capability; a child has nothing of root's environment."""
    state, private = give(home / "state"), home / "private"
    private.mkdir(mode=0o700)
    words = [sys.executable, "-c", GIVEN_UP, str(state), str(private)]
    variables = {**os.environ, "TOKEN": "4711", "LC_TIME": "C", "STATE_DIRECTORY": str(state)}
    done = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, check=False, env=variables
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["ids"] == [[str(USER)] * 4] * 4
    assert answer["groups"] == [[], []]
    assert {*answer["caps"]} == {"0" * 16}
    assert answer["refused"] == [True] * 7
    assert (answer["umask"], answer["became"]) == (0o077, True)
    environment = answer["environment"].split("\0")
    assert {"LC_TIME=C", f"STATE_DIRECTORY={state}", "HOME=/nonexistent"} <= {*environment}
    assert "4711" not in answer["environment"]


def test_the_first_on_the_path_that_is_not_roots_decides(home: Path) -> None:
    """Folders, links of root's and of others, `..`; what is not there is its folder's."""
    state = give(home / "state")
    os.chown(state, USER, 4343)  # USER is no member of that group
    (home / "own").mkdir()
    (home / "link").symlink_to("state")
    (home / "round").symlink_to(home / "own" / ".." / "link")
    (state / "roots").mkdir()
    (home / "theirs").symlink_to("own")
    os.chown(home / "theirs", 4242, 4343, follow_symlinks=False)
    for name in ("state", "link", "round", "state/roots/deeper", "own/../state/x/../y"):
        one = owner.of(home / name)
        assert one is not None, name
        assert (one.uid, one.gid, one.place) == (USER, USER, state), name
    one = owner.of(home / "theirs" / "x")
    assert one is not None
    assert (one.uid, one.gid, one.place) == (4242, 4242, home / "theirs")
    for name in ("own", "own/not/there", "not/there"):
        assert owner.of(home / name) is None
    (home / "loop").symlink_to("loop")
    with pytest.raises(ConfigError, match="too many symbolic links"):
        owner.of(home / "loop")


def test_a_folder_of_roots_that_others_may_write_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nobody to become; with the sticky bit what is there is safe, what is not is not."""
    shared = home / "shared"
    (shared / "state").mkdir(parents=True)
    for mode, there, missing in ((0o777, False, False), (0o1777, True, False), (0o755, True, True)):
        shared.chmod(mode)
        for name, safe in (("state", there), ("new", missing)):
            if safe:
                assert owner.of(shared / name) is None
            else:
                with pytest.raises(ConfigError, match="others may"):
                    owner.of(shared / name)
    shared.chmod(0o777)
    monkeypatch.setenv("STATE_DIRECTORY", str(shared / "state"))
    done = edge("models", "remove", "x@1")
    assert (done.returncode, done.stderr.count("\n")) == (78, 1)
    assert f"{shared}: others may change what is in this folder" in done.stderr


def list_user(folder: Path, user: int, rights: int) -> None:
    """Set 0755, `setfacl -m u:USER:RIGHTS`, and the mask that follows. Source: acl(5)."""
    none = 0xFFFF_FFFF
    lines = ((1, 7, none), (2, rights, user), (4, 5, none), (16, 5 | rights, none), (32, 5, none))
    content = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *line) for line in lines)
    try:
        os.setxattr(folder, "system.posix_acl_access", content)
    except OSError as exc:
        if exc.errno != errno.EOPNOTSUPP:
            raise
        pytest.skip("LEFT OUT: the file system of /tmp has no ACLs")


def test_a_folder_that_an_acl_lets_another_user_write_is_refused(home: Path) -> None:
    """Its group is root's, and the group's bits are the mask of the list."""
    shared = home / "shared"
    (shared / "state").mkdir(parents=True)
    list_user(shared, USER, 5)
    assert owner.of(shared / "state") is None
    list_user(shared, USER, 7)
    assert (shared.stat().st_gid, shared.stat().st_mode & 0o777) == (0, 0o775)
    with pytest.raises(ConfigError, match="others may"):
        owner.of(shared / "state")
    os.removexattr(shared, "system.posix_acl_access")
    shared.chmod(0o775)
    assert owner.of(shared / "state") is None  # root's group alone


def test_every_command_has_its_place() -> None:
    """Nothing that gives files away is anywhere else, and each command is in one of the tables."""
    words = {*arguments.EXAMPLES}
    assert {*commands.COMMANDS} | {*commands.CHANGING} == words
    assert not {*commands.COMMANDS} & {*commands.CHANGING}
    giving = set()
    for path in sorted((ROOT / "edge").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ("chown", "fchown", "lchown"):
                giving.add(str(path.relative_to(ROOT / "edge")))
    assert giving == {"cases/archive.py", "web/settings_file.py"}  # an export; edge.toml
