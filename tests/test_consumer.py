"""The contract as others read it: a subscriber in JavaScript, written from docs/mqtt.md alone."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from deploy.broker import PrivateBroker
from tests.conftest import ROOT, Daemon


def test_a_subscriber_written_from_the_documents_understands_everything(
    broker: PrivateBroker, daemon: Callable[..., Daemon], rgb: Path
) -> None:
    """Labels, changes in order, rates, and an answer to its request."""
    node = shutil.which("node")
    assert node, "node is not installed; run `make setup`"
    config = '[device]\nid = "wall"\n[publish]\ntelemetry_interval_s = 0.5\n'
    daemon("--source", "synthetic", "--model", rgb, "--broker", broker.address, config=config)
    done = subprocess.run(
        [node, ROOT / "tests" / "consumer.js", f"mqtt://{broker.address}", "4"],
        capture_output=True,
        text=True,
        env={**os.environ, "NODE_PATH": "/usr/share/nodejs"},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    wall = result["devices"]["wall"]
    assert wall["labels"] == ["red", "green", "blue"]
    order = [after for _, after in wall["changes"]]
    turn = {"red": "green", "green": "blue", "blue": "red"}
    assert all(turn[a] == b for a, b in itertools.pairwise(order))
    assert wall["label"] in wall["labels"]
    assert abs(wall["scores"] - 1) < 0.02
    assert wall["fps"] > 10
    assert wall["p99"] > 0
    assert (result["answered"], result["duplicates"]) == (1, 0)
