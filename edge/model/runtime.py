"""The TFLite interpreter: loaded, checked and allocated once, then invoked for every frame.

Rule 1: only this file imports TFLite, whichever package it comes from.
Rule 2: everything is allocated before the first frame; ``invoke`` allocates nothing.
Rule 3: a model of a kind that XNNPACK runs is refused where XNNPACK has not taken it: it would be
        up to ten times slower, without any other sign.

Knows neither cameras nor preprocessing. Runs on the caller's thread; TFLite's own threads work
only inside ``invoke``.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelError
from edge.model.card import Activation
from edge.model.graph import (
    Details,
    Graph,
    RuntimeFacts,
    first_layers,
    last_layer,
    read_graph,
    runtime_facts,
)
from edge.model.head import HeadScores
from edge.model.headfile import Head
from edge.model.output import reader
from edge.model.shape import Size, input_shape

BY_XNNPACK: Final = ("int8", "float")
"""Kinds of model that XNNPACK must have taken; some builds give it uint8 models, none int16."""
RUNTIMES: Final = ("tflite_runtime", "ai_edge_litert")
"""Tried in this order: a build of our own for the Pi, then what PyPI maintains."""


class Classifier:
    """One model, ready to run.

    path             a ``.tflite`` file
    labels_total     C, how many labels the card has
    activation       what the output means; None: the last layer decides, or the head
    threads          threads inside ``invoke``
    require_xnnpack  refuse an int8 or float model that XNNPACK has not taken
    size             height and width, for a model that leaves them open
    usual_size       the same where ``size`` is None; ignored where the model has its own
    content          of the file, read before; held in memory, so that no program can overwrite it
    head             gives the scores, from a network that gives features
    values_total     how many ``scores`` writes: C, or F of a model that gives only features
    first            what the first layers do to every value, where that is known
    last             the operator that makes the scores

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
        size: Size | None = None,
        usual_size: Size | None = None,
        content: bytes | None = None,
        head: Head | None = None,
    ) -> None:
        self.labels_total = labels_total
        with _loading(path):
            self.interpreter = _interpreter(path, content, threads)
            _set_shape(self.interpreter, size, usual_size, str(path))
            self.interpreter.allocate_tensors()
            graph = _graph(self.interpreter, path)
            self.first = first_layers(graph, self.interpreter.get_tensor)
        self.input, self.output = graph.tensors[graph.input], graph.tensors[graph.output]
        self.last, step = last_layer(graph)
        usual: Activation = "sigmoid" if self.last == "LOGISTIC" else "softmax"
        self.activation = activation or usual if head is None else "features"
        self._reader = reader(self.output, labels_total, self.activation, step, head, str(path))
        self.values_total = self._reader.size
        self._input_view = self.interpreter.tensor(graph.input)
        self._output_view = self.interpreter.tensor(graph.output)
        self.facts = runtime_facts(graph, runtime(), threads)
        if require_xnnpack:
            _check_delegate(self.facts, path)

    def input_view(self) -> NDArray[np.generic]:
        """Return the input tensor's own memory; drop the view before ``invoke``."""
        return cast("NDArray[np.generic]", self._input_view())

    def invoke(self) -> None:
        """Run the network on what the input tensor holds."""
        self.interpreter.invoke()

    def scores(self, out: NDArray[np.float32]) -> bool:
        """Write the probabilities into ``out``; False where the output holds none.

        out  (C,) float32 in label order, 0 to 1; as it was where there are none. Of a model that
             gives only features: these, (F,) float32
        """
        return self._reader.read(self._output_view(), out)

    def features(self) -> NDArray[np.float32] | None:
        """Return the features under the scores read last, (F,) float32; None without a head."""
        return self._reader.features() if isinstance(self._reader, HeadScores) else None

    @property
    def finite(self) -> bool:
        """Whether the values read last are finite numbers."""
        return self._reader.finite

    def fault(self) -> str:
        """Return why the values read last are not probabilities."""
        return self._reader.fault()


@contextlib.contextmanager
def _loading(path: Path) -> Iterator[None]:
    """Turn what TFLite raises at a model into a ModelError."""
    try:
        yield
    except ModelError:
        raise
    except (ValueError, RuntimeError) as exc:  # among them names that are not UTF-8
        raise ModelError(
            f"the model cannot be loaded: {exc}",
            where=str(path),
            hint="restore the file or convert it again",
        ) from exc


def _interpreter(path: Path, content: bytes | None, threads: int) -> Any:
    """Return TFLite's interpreter for a model, its tensors not yet allocated."""
    model = {"model_content": content} if content else {"model_path": str(path)}
    return _runtime()[1](**model, num_threads=threads)


def _set_shape(interpreter: Any, size: Size | None, usual: Size | None, where: str) -> None:
    """Give the input tensor its height and width where the model leaves them open."""
    inputs: list[Details] = interpreter.get_input_details()
    if len(inputs) != 1:
        raise _no_classifier(where, len(inputs), len(interpreter.get_output_details()))
    before = tuple(int(side) for side in inputs[0]["shape"])
    signature = tuple(int(side) for side in inputs[0].get("shape_signature", ()))
    shape = input_shape(before, signature, size, usual, where)
    if shape != before:
        interpreter.resize_tensor_input(inputs[0]["index"], shape, strict=True)


def _graph(interpreter: Any, path: Path) -> Graph:
    """Return the nodes and tensors of an allocated model with one input and one output."""
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(outputs) != 1:
        raise _no_classifier(path, len(inputs), len(outputs))
    ops, tensors = interpreter._get_ops_details(), interpreter.get_tensor_details()
    return read_graph(ops, tensors, inputs[0]["index"], outputs[0]["index"])


def _check_delegate(facts: RuntimeFacts, path: Path) -> None:
    """Raise ModelError where XNNPACK has not taken a model that it should run."""
    if facts.kind in BY_XNNPACK and not facts.xnnpack:
        raise ModelError(
            f"XNNPACK has not taken this {facts.kind} model",
            where=f"{path} on {facts.runtime}",
            hint="install ai-edge-litert or a TFLite built with XNNPACK for int8,"
            " or accept the slow path with `require_xnnpack = false` in [model]",
        )


def _no_classifier(path: Path | str, inputs: int, outputs: int) -> ModelError:
    return ModelError(
        "not an image classifier",
        where=str(path),
        expected="one input and one output tensor",
        got=f"{inputs} and {outputs}",
    )


def runtime() -> str:
    """Return the TFLite package and its version. Raises ModelError where none is installed."""
    package, _ = _runtime()
    return f"{package} {_version(package)}"


def _runtime() -> tuple[str, Any]:
    """Return the name of the TFLite package and its Interpreter class."""
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
    return str(getattr(importlib.import_module(package), "__version__", "of unknown version"))
