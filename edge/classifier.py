"""The preallocated interpreter: load, verify, warm up, invoke, dequantise.

Rule 1: only this file imports TFLite, whichever package it comes from.
Rule 2: everything is allocated before the first frame; ``invoke`` allocates nothing.
Rule 3: a model of a kind that XNNPACK runs is refused where XNNPACK has not taken it, for it
        would be up to ten times slower and nobody would know.

Knows neither cameras nor preprocessing. Runs on the caller's thread; TFLite's own threads work
only inside ``invoke``.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelError
from edge.modelcard import Activation, TensorSpec

Kind = Literal["int8", "uint8", "float"]
RUNTIMES: Final = ("tflite_runtime", "ai_edge_litert")
"""Tried in this order: a build of our own for the Pi, then what PyPI maintains."""

INPUT_MAX_VALUES: Final = 3 * 4096 * 4096
"""Of the input tensor: a picture of 4096 x 4096."""


@dataclass(frozen=True, slots=True)
class RuntimeFacts:
    """What runs the model, as proven at load.

    runtime          package and version
    kind             what the layers compute in
    xnnpack          whether a delegate has taken any node
    delegated_share  nodes the delegate has taken, of all nodes, 0 to 1
    left_out         the operators that it has not taken
    threads          threads inside ``invoke``
    """

    runtime: str
    kind: Kind
    xnnpack: bool
    delegated_share: float
    left_out: tuple[str, ...]
    threads: int


class Classifier:
    """One model, ready to run.

    path             a ``.tflite`` file
    labels_total     C, how many labels the card has
    activation       what the output means
    threads          threads inside ``invoke``
    require_xnnpack  refuse an int8 or float model that XNNPACK has not taken
    content          of the file, read before; held in memory, so that nobody can overwrite it

    Raises ModelError where the file, its tensors or the runtime are not usable.
    """

    def __init__(
        self,
        path: Path,
        labels_total: int,
        activation: Activation,
        *,
        threads: int,
        require_xnnpack: bool = True,
        content: bytes | None = None,
    ) -> None:
        package, interpreter_class = _runtime()
        model = {"model_content": content} if content else {"model_path": str(path)}
        try:
            self.interpreter = interpreter_class(**model, num_threads=threads)
            inputs = self.interpreter.get_input_details()
            _check_size(inputs, path)
            self.interpreter.allocate_tensors()
            outputs = self.interpreter.get_output_details()
            ops = self.interpreter._get_ops_details()
            tensors = self.interpreter.get_tensor_details()
        except (ValueError, RuntimeError) as exc:  # among them names that are not UTF-8
            if isinstance(exc, ModelError):
                raise
            raise ModelError(
                f"the model cannot be loaded: {exc}",
                where=str(path),
                mend="restore the file or convert it anew",
            ) from exc
        if len(inputs) != 1 or len(outputs) != 1:
            raise ModelError(
                "not an image classifier",
                where=str(path),
                expected="one input and one output tensor",
                got=f"{len(inputs)} and {len(outputs)}",
            )
        self.input = _spec(inputs[0])
        self.output = _spec(outputs[0])
        self.labels_total = labels_total
        self._softmax = activation == "logits"
        values = int(np.prod(self.output.shape))
        self._one_value = values == 1 and labels_total == 2 and activation == "sigmoid"
        if values != labels_total and not self._one_value:
            raise ModelError(
                "labels do not fit the model's output",
                where=str(path),
                expected=f"{values} labels"
                + (" or 2 with a sigmoid output" if values == 1 else ""),
                got=f"{labels_total} with a {activation} output",
                mend="correct `labels` or `activation` in the card",
            )
        self._raw = np.empty(values, np.float32)
        self._input_view = self.interpreter.tensor(inputs[0]["index"])
        self._output_view = self.interpreter.tensor(outputs[0]["index"])
        taken, left_out = delegated(ops)
        total = len(taken) + len(left_out)
        self.facts = RuntimeFacts(
            runtime=f"{package} {_version(package)}",
            kind=_kind(ops, tensors),
            xnnpack=bool(taken),
            delegated_share=round(len(taken) / total, 4) if total else 0.0,
            left_out=left_out,
            threads=threads,
        )
        if require_xnnpack and self.facts.kind != "uint8" and not taken:
            raise ModelError(
                f"XNNPACK has not taken this {self.facts.kind} model",
                where=f"{path} on {self.facts.runtime}",
                mend="install ai-edge-litert or a TFLite built with XNNPACK for int8,"
                " or accept the slow path with `require_xnnpack = false` in [model]",
            )

    def input_view(self) -> NDArray[np.generic]:
        """Return the input tensor's own memory; drop the view before ``invoke``."""
        return cast("NDArray[np.generic]", self._input_view())

    def invoke(self) -> None:
        """Run the network on what the input tensor holds."""
        self.interpreter.invoke()

    def scores(self, out: NDArray[np.float32]) -> None:
        """Dequantise the output into ``out``.

        out  (C,) float32 in label order, overwritten: probabilities where the model gives such
        Source: Jacob et al. 2018, eq. 1.
        """
        raw = self._raw
        np.copyto(raw, self._output_view().reshape(-1), casting="unsafe")
        if self.output.scale:
            raw -= self.output.zero_point
            raw *= self.output.scale
        if self._one_value:
            out[1] = raw[0]
            out[0] = 1.0 - raw[0]
        elif self._softmax:
            raw -= raw.max()
            np.exp(raw, out=raw)
            np.divide(raw, raw.sum(), out=out)
        else:
            out[...] = raw

    def warm_up(self, runs: int = 3) -> None:
        """Run the network until lazily made buffers exist."""
        for _ in range(runs):
            self.invoke()


def delegated(ops: Sequence[dict[str, Any]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the nodes that delegates have taken, and of those left to TFLite.

    ops  the interpreter's list: the model's nodes, then one DELEGATE node for each part that
         a delegate has taken. A node is taken when a DELEGATE's outputs cannot be had without
         it, counting back as far as that DELEGATE's inputs.
    """
    nodes = [op for op in ops if op["op_name"] != "DELEGATE"]
    maker = {int(tensor): node for node in nodes for tensor in node["outputs"]}
    taken: set[int] = set()
    for delegate in (op for op in ops if op["op_name"] == "DELEGATE"):
        given = {int(tensor) for tensor in delegate["inputs"]}
        wanted = [int(tensor) for tensor in delegate["outputs"]]
        while wanted:
            node = maker.get(wanted.pop())
            if node is None or node["index"] in taken:
                continue
            taken.add(node["index"])
            wanted += [int(t) for t in node["inputs"] if int(t) not in given]
    return (
        tuple(node["op_name"] for node in nodes if node["index"] in taken),
        tuple(node["op_name"] for node in nodes if node["index"] not in taken),
    )


def _kind(ops: Sequence[dict[str, Any]], tensors: Sequence[dict[str, Any]]) -> Kind:
    """Return what the layers compute in: the type that most nodes put out."""
    types = {int(tensor["index"]): np.dtype(tensor["dtype"]).name for tensor in tensors}
    made = Counter(
        types.get(int(tensor), "")
        for op in ops
        if op["op_name"] != "DELEGATE"
        for tensor in op["outputs"]
    )
    if made["float32"] + made["float16"] > made["int8"] + made["uint8"]:
        return "float"
    return "int8" if made["int8"] >= made["uint8"] else "uint8"


def _spec(detail: dict[str, Any]) -> TensorSpec:
    scale, zero_point = detail["quantization"]
    shape = tuple(int(side) for side in detail["shape"])
    return TensorSpec(shape, np.dtype(detail["dtype"]), float(scale), int(zero_point))


def runtime() -> str:
    """Return the TFLite package found and its version. Raises ModelError where there is none."""
    package, _ = _runtime()
    return f"{package} {_version(package)}"


def _check_size(inputs: Sequence[dict[str, Any]], path: Path) -> None:
    """Raise ModelError before memory is taken for an input that is no camera's picture."""
    for shape in ([int(side) for side in tensor["shape"]] for tensor in inputs):
        if math.prod(shape) > INPUT_MAX_VALUES:
            expected, got = f"at most {INPUT_MAX_VALUES} values", " x ".join(map(str, shape))
            what = "the model's input is too large"
            raise ModelError(what, where=str(path), expected=expected, got=got)


def _runtime() -> tuple[str, Any]:
    """Return the name of the TFLite package found and its Interpreter class."""
    for package in RUNTIMES:
        try:
            module = importlib.import_module(f"{package}.interpreter")
        except ModuleNotFoundError as exc:
            if exc.name and exc.name.split(".")[0] == package:
                continue
            raise ModelError(f"{package} is installed but broken: {exc}") from exc
        except ImportError as exc:
            raise ModelError(f"{package} is installed but broken: {exc}") from exc
        return package, module.Interpreter
    raise ModelError(
        "no TFLite runtime is installed",
        expected=" or ".join(RUNTIMES),
        mend="pip install ai-edge-litert",
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package.replace("_", "-"))
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"
