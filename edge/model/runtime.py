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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelError
from edge.model import graph
from edge.model.card import LARGEST_SIDE, Activation
from edge.model.graph import Details, Kind, delegated
from edge.model.scores import Scores

__all__ = ["Classifier", "RuntimeFacts", "delegated"]

BY_XNNPACK: Final = ("int8", "float")
"""Kinds of model that XNNPACK must have taken; uint8 models some builds give it, int16 none."""
RUNTIMES: Final = ("tflite_runtime", "ai_edge_litert")
"""Tried in this order: a build of our own for the Pi, then what PyPI maintains."""


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
    activation       what the output means; None: what the last layer says
    threads          threads inside ``invoke``
    require_xnnpack  refuse an int8 or float model that XNNPACK has not taken
    size             height and width, for a model that leaves them open
    usual_size       the same where ``size`` is None; not looked at where the model has its own
    content          of the file, read before; held in memory, so that nobody can overwrite it

    Raises ModelError where the file, its tensors or the runtime are not usable.
    """

    def __init__(
        self,
        path: Path,
        labels_total: int,
        activation: Activation | None,
        *,
        threads: int,
        require_xnnpack: bool = True,
        size: tuple[int, int] | None = None,
        usual_size: tuple[int, int] | None = None,
        content: bytes | None = None,
    ) -> None:
        package, interpreter_class = _runtime()
        model = {"model_content": content} if content else {"model_path": str(path)}
        try:
            self.interpreter = interpreter_class(**model, num_threads=threads)
            _size(self.interpreter, size, usual_size, str(path))
            self.interpreter.allocate_tensors()
            inputs = self.interpreter.get_input_details()
            outputs = self.interpreter.get_output_details()
            ops = self.interpreter._get_ops_details()
            tensors = self.interpreter.get_tensor_details()
            first = graph.first(ops, tensors, inputs[0]["index"], self.interpreter.get_tensor)
        except ModelError:
            raise
        except (ValueError, RuntimeError) as exc:  # among them names that are not UTF-8
            raise ModelError(
                f"the model cannot be loaded: {exc}",
                where=str(path),
                hint="restore the file or convert it anew",
            ) from exc
        if len(outputs) != 1:
            raise _no_classifier(path, len(inputs), len(outputs))
        self.input, self.output = graph.spec(inputs[0]), graph.spec(outputs[0])
        self.first = first
        """What the first layers do to every value, where that is known."""
        self.last, step = graph.last(ops, tensors, outputs[0]["index"])
        """The operator that makes the scores."""
        self.labels_total = labels_total
        guess: Activation = "sigmoid" if self.last == "LOGISTIC" else "softmax"
        self.activation = activation or guess
        values = int(np.prod(self.output.shape))
        one_value = values == 1 and labels_total == 2 and self.activation != "softmax"
        if values != labels_total and not one_value:
            raise _mislabelled(path, values, labels_total, self.activation)
        self._scores = Scores(self.output, labels_total, self.activation, step)
        self._input_view = self.interpreter.tensor(inputs[0]["index"])
        self._output_view = self.interpreter.tensor(outputs[0]["index"])
        taken, left_out = delegated(ops)
        total = len(taken) + len(left_out)
        self.facts = RuntimeFacts(
            runtime=f"{package} {_version(package)}",
            kind=graph.kind(ops, tensors),
            xnnpack=bool(taken),
            delegated_share=round(len(taken) / total, 4) if total else 0.0,
            left_out=left_out,
            threads=threads,
        )
        if require_xnnpack and self.facts.kind in BY_XNNPACK and not taken:
            raise ModelError(
                f"XNNPACK has not taken this {self.facts.kind} model",
                where=f"{path} on {self.facts.runtime}",
                hint="install ai-edge-litert or a TFLite built with XNNPACK for int8,"
                " or accept the slow path with `require_xnnpack = false` in [model]",
            )

    def input_view(self) -> NDArray[np.generic]:
        """Return the input tensor's own memory; drop the view before ``invoke``."""
        return cast("NDArray[np.generic]", self._input_view())

    def invoke(self) -> None:
        """Run the network on what the input tensor holds."""
        self.interpreter.invoke()

    def scores(self, out: NDArray[np.float32]) -> bool:
        """Write the probabilities into ``out``; False where the output holds none.

        out  (C,) float32 in label order, 0 to 1; as it was where there are none
        """
        return self._scores.read(self._output_view(), out)

    @property
    def finite(self) -> bool:
        """Whether the values read last are numbers at all."""
        return self._scores.finite

    def fault(self) -> str:
        """Return why the values read last are no probabilities."""
        return self._scores.fault()


def _size(
    interpreter: Any, size: tuple[int, int] | None, usual: tuple[int, int] | None, where: str
) -> None:
    """Give the input tensor its height and width where the model leaves them open."""
    inputs: list[Details] = interpreter.get_input_details()
    if len(inputs) != 1:
        raise _no_classifier(where, len(inputs), len(interpreter.get_output_details()))
    shape = tuple(int(side) for side in inputs[0]["shape"])
    signature = tuple(int(side) for side in inputs[0].get("shape_signature", ())) or shape
    if len(signature) == 4 and -1 in signature[1:]:
        shape = (1, *(size or usual or (-1, -1)), signature[3])
        if -1 in shape:
            raise ModelError(
                "the model leaves the size of its input open",
                where=where,
                got=str(signature),
                hint="set `input = [height, width]` in [preprocessing] of model.toml",
            )
    if max(shape[1:], default=1) > LARGEST_SIDE or math.prod(shape) > 4 * LARGEST_SIDE**2:
        raise ModelError(
            "the model's input is too large",
            where=where,
            expected=f"at most {LARGEST_SIDE} pixels a side",
            got=str(shape),
        )
    fixed = signature[1:3] if len(signature) == 4 else ()
    if size and fixed and any(side not in (-1, own) for side, own in zip(fixed, size, strict=True)):
        raise ModelError(
            "`input` in [preprocessing] does not fit the model",
            where=where,
            expected=str(list(fixed)),
            got=str(list(size)),
        )
    if shape != tuple(int(side) for side in inputs[0]["shape"]):
        interpreter.resize_tensor_input(inputs[0]["index"], shape, strict=True)


def _no_classifier(path: Path | str, inputs: int, outputs: int) -> ModelError:
    return ModelError(
        "not an image classifier",
        where=str(path),
        expected="one input and one output tensor",
        got=f"{inputs} and {outputs}",
    )


def _mislabelled(path: Path, values: int, labels: int, activation: Activation) -> ModelError:
    hint = "correct `labels` or `activation` in the card"
    if values == labels + 1 and values > 2:
        hint = "one class more is often `background`, the first: add it to the labels"
    return ModelError(
        "labels do not fit the model's output",
        where=str(path),
        expected=f"{values} labels" + (" or 2 with a sigmoid output" if values == 1 else ""),
        got=f"{labels} with a {activation} output",
        hint=hint,
    )


def runtime() -> str:
    """Return the TFLite package found and its version. Raises ModelError where there is none."""
    package, _ = _runtime()
    return f"{package} {_version(package)}"


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
        hint="pip install ai-edge-litert",
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package.replace("_", "-"))
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"
