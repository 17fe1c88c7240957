"""The documents are true: the tree, links, defaults, examples, ten questions, the picture."""

from __future__ import annotations

import ast
import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

from deploy.package import build
from edge import config
from edge.config.smoothing import DEFAULT
from edge.contract import PAYLOADS, schema
from tests.conftest import ROOT, edge, tracked

LISTED_AS_FOLDERS = (
    "tests/vm",
    "tests/system",
    "deploy/debian",
    "deploy/demo",
    "deploy/image/base",
    "deploy/image/sdcard",
    "deploy/lock",
    "deploy/mosquitto",
    "deploy/opencv/patches",
    "deploy/runtime/armhf",
    "deploy/runtime/patches",
    "deploy/runtime/toolchain",
    "deploy/systemd",
    *(f"models/{model.name}" for model in build.models()),
    "tests/cases",
    "tests/corpus",
    "tests/golden",
    "tests/homeassistant",
    "tests/image",
    "tests/models",
    "tests/machines",
)


def tree() -> set[str]:
    """Return every path in docs/tree.md; folders that are listed whole end in a slash."""
    block = (ROOT / "docs" / "tree.md").read_text().split("```")[1]
    folders: list[str] = []
    found = set()
    for line in block.strip().splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name, _, rest = line.strip().partition(" ")
        del folders[depth:]
        path = "".join([*folders, name])
        if name.endswith("/") and not rest:
            folders.append(name)
        else:
            assert rest.strip(), f"{path} has no text"
            found.add(path)
    return found


def test_the_tree_is_the_tree() -> None:
    """Every file is in it, and everything in it is there."""
    there = set()
    for name in tracked():
        folder = next((f for f in LISTED_AS_FOLDERS if name.startswith(f + "/")), None)
        if (ROOT / name).exists():
            there.add(f"{folder}/" if folder else name)
    assert there - {".gitignore"} == tree()


def test_the_example_config_is_the_defaults() -> None:
    """deploy/edge.toml says of every key what it is when left out."""
    path = ROOT / "deploy" / "edge.toml"
    assert config.load(path) == config.load(None)
    text = path.read_text()
    keys = set(re.findall(r"^(\w+) =", text, re.M)) | set(
        re.findall(r"^\[\w+\.(\w+)\]", text, re.M)
    )
    tables = config.redacted(config.load(None))
    shown = re.findall(r"^# (\w+) =", text, re.M)  # without a default: shown as comments
    assert shown == [*tables["camera"]["controls"], "enter", "exit"]
    assert keys | {"enter", "exit"} == {key for table in tables.values() for key in table}
    values = re.findall(r"^# (?:enter|exit) = ([\d.]+)", text, re.M)
    assert tuple(map(float, values)) == (DEFAULT.enter, DEFAULT.exit)


@pytest.mark.parametrize("topic", [topic for topic in PAYLOADS if topic != "result"])
def test_the_examples_of_the_contract_are_valid(topic: str) -> None:
    """Each JSON block of docs/mqtt.md under its topic's heading."""
    section = re.split(r"^## ", (ROOT / "docs" / "mqtt.md").read_text(), flags=re.M)
    mine = next(text for text in section if text.startswith(f"{topic} ("))
    example = json.loads(mine.split("```json")[1].split("```")[0])
    jsonschema.validate(example, schema()[topic])
    assert (
        example.keys() == schema()[topic]["$defs"][PAYLOADS[topic][0].__name__]["properties"].keys()
    )


def test_every_command_is_in_the_readme() -> None:
    """And nothing that is not a command."""
    text = (ROOT / "README.md").read_text()
    section = text.split("## The command line")[1].split("##")[0]
    named = set(re.findall(r"^    edge (\w+)", section, re.M))
    offered = set(re.findall(r"^    (\w+)  ", edge("--help").stdout, re.M))
    assert named == offered


def test_make_help_lists_every_verb() -> None:
    """What is not listed is not supported."""
    shown = subprocess.run(["make", "help"], capture_output=True, text=True, cwd=ROOT, check=True)
    phony = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert set(re.findall(r"make ([\w-]+)", shown.stdout)) == set(" ".join(phony).split())


def test_links_lead_somewhere() -> None:
    """Every relative link of the documents, and the heading that it names."""
    pages = [ROOT / name for name in tracked() if name.endswith(".md")]
    assert {ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")} <= {*pages}
    for page in pages:
        for link, heading in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text()):
            target = page.parent / link if link else page
            assert target.exists(), f"{page}: {link}"
            assert not heading or heading in headings(target), f"{page}: {link}#{heading}"


def headings(page: Path) -> set[str]:
    """Return the anchors of a page, as the hosts of repositories make them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_readme_is_short() -> None:
    """Three readers find their part of it on a few screens."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def names(path: Path) -> set[str]:
    """Return every name that a Python file defines: functions, methods, classes, constants."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def test_the_ten_answers_are_there() -> None:
    """CONTRIBUTING.md sends nobody to a file or a function that has moved."""
    section = (ROOT / "CONTRIBUTING.md").read_text().split("## Ten questions")[1].split("\n## ")[0]
    rows = [row for row in section.splitlines() if re.match(r"\| .*\?", row)]
    assert len(rows) == 10
    for row in rows:
        answers = re.findall(r"`([\w./]+\.\w+): ([\w., ]+)`", row)
        assert answers, row
        for file, wanted in answers:
            for name in re.split(r"[., ]+", wanted):
                assert name in names(ROOT / file), f"{file}: no {name}"


def picture(path: Path) -> str:
    """Return the text of the README's picture, checked to be whole and to need nothing else."""
    svg = path.read_text()
    root = ElementTree.fromstring(svg)
    (frame,) = root.iter("{http://www.w3.org/2000/svg}image")
    kind, _, content = frame.attrib["href"].partition(",")
    assert kind == "data:image/jpeg;base64"
    assert base64.b64decode(content, validate=True).endswith(b"\xff\xd9")
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")
    assert str(ROOT) not in svg
    return "".join(root.itertext()).replace("\xa0", " ")


def test_the_picture_is_small_and_whole() -> None:
    """The README loads it from here, and it loads nothing."""
    path = ROOT / "docs" / "demo.svg"
    assert path.stat().st_size < 200_000
    assert "label_changed" in picture(path)
    assert "](docs/demo.svg)" in (ROOT / "README.md").read_text()


def test_the_picture_is_made_by_its_script(tmp_path: Path) -> None:
    """From a run of the daemon on the demo clip, until its first snapshot."""
    path = tmp_path / "demo.svg"
    script = ROOT / "deploy" / "demo" / "make_picture.py"
    subprocess.run([sys.executable, script, "--snapshots=1", f"--out={path}"], check=True)
    text = picture(path)
    assert "porch" in text
    assert "cat -> " in text
    assert " fps " in text


def test_every_fault_names_a_test_that_exists() -> None:
    """docs/faults.md promises nothing that no test shows."""
    text = (ROOT / "docs" / "faults.md").read_text()
    rows = [row.split(" | ") for row in text.splitlines() if re.match(r"^\| (?!fault|what)", row)]
    faults = [row for row in rows if len(row) == 4]

    assert len(faults) > 20
    for row in faults:
        file = None
        for name in re.findall(r"(?:test|inside)_\w+", row[2]):
            if path := next((ROOT / "tests").rglob(f"{name}.py"), None):
                file = path
            else:
                assert file, f"{name} in no file: {row}"
                assert f"def {name}(" in file.read_text(), f"{file}: no {name}"
        assert file or row[2] in ("cameras", "system", "image"), f"no test: {row}"


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_every_path_that_a_page_names_exists(page: str) -> None:
    """A path in code marks, from the top of the repository."""
    text = (ROOT / page).read_text()
    paths = re.findall(r"`((?:edge|deploy|models|docs|tests)/[\w./-]+\.\w+)", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []
