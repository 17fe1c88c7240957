"""What a model's list of nodes says: who runs them, in which numbers, how it begins and ends.

Pure: works on the interpreter's own descriptions of nodes and tensors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from edge.model.card import Affine, TensorSpec

Kind = Literal["int8", "uint8", "int16", "float"]
Details = dict[str, Any]
"""One node or tensor, as the interpreter describes it."""
_HANDED_ON: Final = ("DEQUANTIZE", "QUANTIZE", "RESHAPE", "SQUEEZE")
"""Nodes that change nothing of what a score means."""
_FIRST_LAYERS: Final = 4
"""Layers looked at from the input on: Keras's Rescaling and Normalization are two each."""


def delegated(ops: Sequence[Details]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the nodes that delegates have taken, and of those left to TFLite.

    ops  the interpreter's list: the model's nodes, then one DELEGATE node for each part that
         a delegate has taken. A node is taken when a DELEGATE's outputs cannot be had without
         it, counting back as far as that DELEGATE's inputs.
    """
    nodes = _nodes(ops)
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


def kind(ops: Sequence[Details], tensors: Sequence[Details]) -> Kind:
    """Return what the layers compute in: the type that most nodes put out."""
    types = {int(tensor["index"]): np.dtype(tensor["dtype"]).name for tensor in tensors}
    made = Counter(types.get(int(tensor), "") for op in _nodes(ops) for tensor in op["outputs"])
    if made["float32"] + made["float16"] > made["int8"] + made["uint8"] + made["int16"]:
        return "float"
    integers: tuple[Kind, ...] = ("int8", "uint8", "int16")
    return max(integers, key=lambda name: made[name])


def last(ops: Sequence[Details], tensors: Sequence[Details], output: int) -> tuple[str, float]:
    """Return the operator that makes the scores, and the step that they are rounded to, 0: none.

    output  the output tensor's index
    """
    scales = {int(tensor["index"]): float(tensor["quantization"][0]) for tensor in tensors}
    maker = {int(tensor): node for node in _nodes(ops) for tensor in node["outputs"]}
    at, step = output, scales.get(output, 0.0)
    for _ in maker:
        node = maker.get(at)
        if node is None or node["op_name"] not in _HANDED_ON:
            return ("" if node is None else str(node["op_name"])), step
        at = int(node["inputs"][0])
        step = max(step, scales.get(at, 0.0))
    return "", step


def first(
    ops: Sequence[Details],
    tensors: Sequence[Details],
    start: int,
    constant: Callable[[int], NDArray[Any]],
) -> Affine | None:
    """Return what the first layers of a float model do to each value; None: nothing that is known.

    start     the input tensor's index
    constant  index of a tensor -> its values

    Only factors and summands count that are one number, or one a channel.
    """
    nodes = _nodes(ops)
    details = {int(tensor["index"]): tensor for tensor in tensors}
    made = {int(tensor) for node in nodes for tensor in node["outputs"]} | {start}
    factor, offset = np.ones(1), np.zeros(1)
    at, found = start, False
    for _ in range(_FIRST_LAYERS):
        readers = [node for node in nodes if at in map(int, node["inputs"])]
        if len(readers) != 1 or readers[0]["op_name"] not in ("MUL", "ADD", "SUB", "DIV"):
            break
        name, inputs = readers[0]["op_name"], [int(tensor) for tensor in readers[0]["inputs"]]
        others = [tensor for tensor in inputs if tensor != at]
        if len(others) != 1 or others[0] in made or (name in ("SUB", "DIV") and inputs[0] != at):
            break
        other = details[others[0]]
        if np.dtype(other["dtype"]) != np.float32 or int(np.prod(other["shape"])) not in (1, 3):
            break
        value = np.asarray(constant(others[0]), np.float64).reshape(-1)
        if not np.all(np.isfinite(value)) or (name in ("MUL", "DIV") and not np.all(value > 0)):
            break
        if name == "ADD":
            offset = offset + value
        elif name == "SUB":
            offset = offset - value
        else:
            by = value if name == "MUL" else 1 / value
            factor, offset = factor * by, offset * by
        at, found = int(readers[0]["outputs"][0]), True
    return Affine(factor, offset) if found else None


def spec(detail: Details) -> TensorSpec:
    """Return what a tensor holds."""
    scale, zero_point = detail["quantization"]
    shape = tuple(int(side) for side in detail["shape"])
    return TensorSpec(shape, np.dtype(detail["dtype"]), float(scale), int(zero_point))


def _nodes(ops: Sequence[Details]) -> list[Details]:
    return [op for op in ops if op["op_name"] != "DELEGATE"]
