"""The documents tell the truth: the tree, the defaults, the examples."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest

from edge import config
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
    "deploy/runtime/armhf",
    "deploy/runtime/patches",
    "deploy/runtime/toolchain",
    "deploy/systemd",
    "models/catdog",
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
    assert there - {"README.md", ".gitignore"} == tree()


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
    assert shown == list(tables["camera"]["controls"])
    assert keys == {key for table in tables.values() for key in table}


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
    """Every relative link of the documents."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *ROOT.glob("*/*/*.md")]
    for page in pages:
        if ".venv" in str(page):
            continue
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (Path(page).parent / link).exists(), f"{page}: {link}"


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
