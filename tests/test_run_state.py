"""One run has one writer, and no object of the daemon is incomplete."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

OWNER = ROOT / "edge" / "daemon" / "run.py"
FILES = sorted((ROOT / "edge").rglob("*.py"))
DAEMON = [path for path in FILES if path.parent == OWNER.parent]


def written(path: Path) -> list[str]:
    """Return the attributes of a run, or of what it holds, that a file assigns to."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = list(node.targets)
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        while targets:
            target = targets.pop()
            if isinstance(target, ast.Tuple | ast.List):
                targets += target.elts
            text = ast.unparse(target)
            if any(text.startswith(f"{run}.") for run in ("run", "self._run", "self.run")):
                found.append(text)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nobody_else_writes_a_run(path: Path) -> None:
    """Others call the method that says what has changed."""
    assert path == OWNER or written(path) == []


@pytest.mark.parametrize("path", DAEMON, ids=lambda path: path.name)
def test_every_attribute_is_born_in_init(path: Path) -> None:
    """An object is complete when it has been made."""
    classes = [
        node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)
    ]
    for node in classes:
        methods = [method for method in node.body if isinstance(method, ast.FunctionDef)]
        fields = {ast.unparse(one.target) for one in node.body if isinstance(one, ast.AnnAssign)}
        born = {name for m in methods if m.name == "__init__" for name in stored(m)}
        assert {name for m in methods for name in stored(m)} <= born | fields, node.name


def stored(method: ast.FunctionDef) -> set[str]:
    """Return the attributes of ``self`` that a method assigns to."""
    return {
        node.attr
        for node in ast.walk(method)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and ast.unparse(node.value) == "self"
    }
