"""The models in the package: all of them, whole, found by name, with their licences."""

from __future__ import annotations

import fnmatch
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from deploy.package import build
from tests.conftest import ROOT, tracked

OTHER = "catdog-large"
"""The second model of the laid out package; a copy of the shipped one where it is not there."""


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package's private folder, laid out from a copy of this repository."""
    here = tmp_path / "here"
    for name in tracked():
        if (ROOT / name).is_file():
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, here / name)
    if not (here / "models" / OTHER).exists():
        shutil.copytree(here / "models" / "catdog", here / "models" / OTHER)
    (here / "models" / "unfinished").mkdir()
    (here / "models" / "unfinished" / "model.tflite").write_bytes(b"no card")
    (here / "models" / "catdog" / "__pycache__").mkdir()
    monkeypatch.setattr(build, "ROOT", here)
    build.lay_out(tmp_path / "packed")
    return tmp_path / "packed" / "private"


def files(folder: Path) -> dict[str, bytes]:
    """Return every file below ``folder`` by its name."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_every_model_is_packed_whole(private: Path) -> None:
    """Card, model, labels, golden picture and README of each; nothing of the recipe."""
    packed = {path.parent for path in private.glob("edge/*/model.toml")}
    assert {path.name for path in packed} == {model.name for model in build.models()}
    assert {"catdog", OTHER} <= {path.name for path in packed}
    for model in packed:
        assert files(model) == files(build.ROOT / "models" / model.name)
        card = tomllib.loads((model / "model.toml").read_text())
        golden = [card["golden"]["picture"]] if "golden" in card else []
        for name in ("README.md", card["file"], *golden):
            assert (model / name).is_file(), f"{model.name}: {name}"
    assert not (private / "edge" / "unfinished").exists()
    assert not list(private.rglob("train.py"))
    assert not list(private.rglob("__pycache__"))


@pytest.mark.parametrize("model", ["", OTHER])
def test_the_packed_program_finds_a_model_by_its_name(model: str, private: Path) -> None:
    """From its private folder alone; the shipped model where none is named."""
    name = model or "catdog"
    picture = private / "edge" / name / "golden.png"
    query = "import sys; from edge.model import locate; print(locate.find(sys.argv[1]).path)"
    found = run(private, "-c", query, model)
    assert found == f"{private}/edge/{name}/model.tflite\n"
    chosen = ("--model", model) if model else ()
    assert "golden.png" in run(private, "-m", "edge", "classify", *chosen, str(picture))


def run(private: Path, *arguments: str) -> str:
    """Return what this Python prints with the packed program alone."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=private, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_has_the_same_models() -> None:
    """Its pattern takes every folder of models/, and every folder there is a model."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["include"] == ["/edge", "/models/*/*"]
    assert wheel["sources"] == {"models": "edge"}
    folders = {name.split("/")[1] for name in tracked() if re.match("models/[^/]+/", name)}
    assert folders == {model.name for model in build.models()}


def test_no_model_takes_a_rooms_name() -> None:
    """Both lie in one folder of the package."""
    rooms = {path.stem for path in (ROOT / "edge").iterdir()}
    assert not rooms & {model.name for model in build.models()}


def test_every_packed_model_has_its_licence() -> None:
    """A paragraph of the package's copyright file is about it."""
    text = (ROOT / "deploy" / "debian" / "copyright").read_text()
    patterns = " ".join(re.findall(r"^Files: (.+)$", text, re.M)).split()
    patterns = [pattern for pattern in patterns if pattern.startswith("private/edge/")]
    for model in build.models():
        name = f"private/edge/{model.name}/model.tflite"
        assert any(fnmatch.fnmatch(name, pattern) for pattern in patterns), name
