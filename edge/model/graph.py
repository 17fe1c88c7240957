"""The nodes and tensors of a loaded model: who runs them, in which type, how it begins and ends.

Reads the interpreter's descriptions of nodes and tensors once, into records. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from edge.model.card import Affine, TensorSpec

Kind = Literal["int8", "uint8", "int16", "float"]
Details = Mapping[str, Any]
"""One node or tensor, as the interpreter describes it."""
_PASSED_ON: Final = ("DEQUANTIZE", "QUANTIZE", "RESHAPE", "SQUEEZE")
"""Nodes that do not change what a score means."""
_FIRST_LAYERS: Final = 4
"""Layers examined from the input on: Keras's Rescaling and Normalization are two each."""


@dataclass(frozen=True, slots=True)
class Node:
    """One operator; inputs and outputs are indices of tensors."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """A loaded model.

    nodes      the model's own, in order
    delegates  one for each part of the model that a delegate has taken
    tensors    by index
    input      index of the input tensor
    output     index of the output tensor
    """

    nodes: tuple[Node, ...]
    delegates: tuple[Node, ...]
    tensors: Mapping[int, TensorSpec]
    input: int
    output: int


@dataclass(frozen=True, slots=True)
class RuntimeFacts:
    """The runtime of a loaded model.

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


def read_graph(
    ops: Iterable[Details], tensors: Iterable[Details], input: int, output: int
) -> Graph:
    """Return the interpreter's descriptions as records.

    ops  the model's nodes, then one DELEGATE node for each part that a delegate has taken
    """
    nodes = [
        Node(str(op["op_name"]), tuple(map(int, op["inputs"])), tuple(map(int, op["outputs"])))
        for op in ops
    ]
    return Graph(
        tuple(node for node in nodes if node.name != "DELEGATE"),
        tuple(node for node in nodes if node.name == "DELEGATE"),
        {int(tensor["index"]): spec(tensor) for tensor in tensors},
        input,
        output,
    )


def spec(detail: Details) -> TensorSpec:
    """Return what a tensor holds."""
    scale, zero_point = detail["quantization"]
    shape = tuple(int(side) for side in detail["shape"])
    return TensorSpec(shape, np.dtype(detail["dtype"]), float(scale), int(zero_point))


def runtime_facts(graph: Graph, runtime: str, threads: int) -> RuntimeFacts:
    """Return what runs the model."""
    taken, left_out = delegated(graph)
    total = len(taken) + len(left_out)
    return RuntimeFacts(
        runtime=runtime,
        kind=layer_kind(graph),
        xnnpack=bool(taken),
        delegated_share=round(len(taken) / total, 4) if total else 0.0,
        left_out=left_out,
        threads=threads,
    )


def delegated(graph: Graph) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the nodes that delegates have taken, and of those left to TFLite.

    A node is taken where a DELEGATE's outputs depend on it, counting back as far as that
    DELEGATE's inputs.
    """
    maker = {tensor: at for at, node in enumerate(graph.nodes) for tensor in node.outputs}
    taken: set[int] = set()
    for delegate in graph.delegates:
        pending, begin = list(delegate.outputs), set(delegate.inputs)
        while pending:
            at = maker.get(pending.pop())
            if at is not None and at not in taken:
                taken.add(at)
                pending += [tensor for tensor in graph.nodes[at].inputs if tensor not in begin]
    return (
        tuple(node.name for at, node in enumerate(graph.nodes) if at in taken),
        tuple(node.name for at, node in enumerate(graph.nodes) if at not in taken),
    )


def layer_kind(graph: Graph) -> Kind:
    """Return the type that the layers compute in: the one that most nodes put out."""
    made = Counter(
        graph.tensors[tensor].dtype.name
        for node in graph.nodes
        for tensor in node.outputs
        if tensor in graph.tensors
    )
    if made["float32"] + made["float16"] > made["int8"] + made["uint8"] + made["int16"]:
        return "float"
    integers: tuple[Kind, ...] = ("int8", "uint8", "int16")
    return max(integers, key=lambda name: made[name])


def last_layer(graph: Graph) -> tuple[str, float]:
    """Return the operator that makes the scores, and the step that they are rounded to; 0: none."""
    scales = {index: tensor.scale for index, tensor in graph.tensors.items()}
    maker = {tensor: node for node in graph.nodes for tensor in node.outputs}
    tensor, step = graph.output, scales.get(graph.output, 0.0)
    for _ in maker:
        node = maker.get(tensor)
        if node is None or node.name not in _PASSED_ON:
            return ("" if node is None else node.name), step
        tensor = node.inputs[0]
        step = max(step, scales.get(tensor, 0.0))
    return "", step


def first_layers(graph: Graph, constant: Callable[[int], NDArray[Any]]) -> Affine | None:
    """Return what the first layers of a float model do to each value; None: nothing known.

    constant  index of a tensor -> its values
    """
    factor, offset = np.ones(1), np.zeros(1)
    tensor, scales = graph.input, False
    for _ in range(_FIRST_LAYERS):
        readers = [node for node in graph.nodes if tensor in node.inputs]
        value = _operand(graph, readers[0], tensor, constant) if len(readers) == 1 else None
        if value is None:
            break
        name = readers[0].name
        if name in ("ADD", "SUB"):
            offset = offset + value if name == "ADD" else offset - value
        else:
            by = value if name == "MUL" else 1 / value
            factor, offset = factor * by, offset * by
        tensor, scales = readers[0].outputs[0], True
    return Affine(factor, offset) if scales else None


def _operand(
    graph: Graph, node: Node, tensor: int, constant: Callable[[int], NDArray[Any]]
) -> NDArray[np.float64] | None:
    """Return the constant that ``node`` combines with ``tensor``: one number, or one a channel.

    None where the node does anything else.
    """
    others = [index for index in node.inputs if index != tensor]
    if node.name not in ("MUL", "ADD", "SUB", "DIV") or len(others) != 1:
        return None
    if node.name in ("SUB", "DIV") and node.inputs[0] != tensor:
        return None
    other, made = others[0], {index for node in graph.nodes for index in node.outputs}
    values = graph.tensors.get(other)
    if values is None or other in made or other == graph.input:
        return None
    if values.dtype != np.float32 or int(np.prod(values.shape)) not in (1, 3):
        return None
    value = np.asarray(constant(other), np.float64).reshape(-1)
    usable = np.all(np.isfinite(value)) and (node.name in ("ADD", "SUB") or np.all(value > 0))
    return value if usable else None
