"""Models that no converter writes: they hang, want too much memory, or crash their interpreter.

Made from the colour models, by a byte or by TensorFlow Lite's own schema.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.conftest import MODELS

PATCHES: Final = {"crashes": (1386, 255), "cannot be run": (2612, 0), "raises": (111, 191)}
"""What becomes of uint8io.tflite -> a byte that is written over it: (offset, byte)."""


def patched(folder: Path, name: str) -> Path:
    """Return ``folder`` with a colour model as ``PATCHES`` names it, its card in agreement."""
    folder.mkdir()
    content = bytearray((MODELS / "uint8io.tflite").read_bytes())
    offset, byte = PATCHES[name]
    content[offset] = byte
    (folder / "model.tflite").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    (folder / "model.toml").write_text(
        f'name = "odd"\nfile = "model.tflite"\nlabels = ["red", "green", "blue"]\n'
        f'sha256 = "{digest}"\n'
    )
    return folder


def wide(folder: Path, side: int) -> Path:
    """Return a model file whose input is 1 x side x side x 3, its labels beside it."""
    model = _read("float")
    for tensor in model.subgraphs[0].tensors:
        shape = [int(number) for number in tensor.shape]
        if shape == [1, 32, 32, 3]:
            tensor.shape = [1, side, side, 3]
        elif shape == [1, 16, 16, 8]:
            tensor.shape = [1, side // 2, side // 2, 8]
    return _write(folder / f"wide{side}.tflite", model)


def endless(folder: Path) -> Path:
    """Return a model file whose ``invoke`` never returns: a loop whose counter stays at 0."""
    model = _read("float")
    nothing, constants = 0, len(model.buffers)  # buffer 0: the tensor is no constant
    for content in (_int(0), _int(1), np.zeros(1, np.float32).tobytes()):
        buffer = schema.BufferT()
        buffer.data = list(content)
        model.buffers.append(buffer)
    code = len(model.operatorCodes)
    for builtin in (schema.BuiltinOperator.WHILE, schema.BuiltinOperator.LESS):
        model.operatorCodes.append(_code(builtin))
    model.operatorCodes.append(_code(schema.BuiltinOperator.ADD))
    number, real = schema.TensorType.INT32, schema.TensorType.FLOAT32

    main = model.subgraphs[0]
    scores = int(main.outputs[0])
    main.tensors += [
        _tensor("counter", [], number, constants),
        _tensor("last counter", [], number, nothing),
        _tensor("last scores", [1, 3], real, nothing),
    ]
    first = len(main.tensors) - 3
    options = schema.WhileOptionsT()
    options.condSubgraphIndex, options.bodySubgraphIndex = 1, 2
    kind = schema.BuiltinOptions.WhileOptions
    main.operators.append(_operator(code, [first, scores], [first + 1, first + 2], kind, options))
    main.outputs = [first + 2]

    condition = _graph(
        [
            _tensor("counter", [], number, nothing),
            _tensor("scores", [1, 3], real, nothing),
            _tensor("one", [], number, constants + 1),
            _tensor("again", [], schema.TensorType.BOOL, nothing),
        ],
        [0, 1],
        [3],
        [
            _operator(
                code + 1, [0, 2], [3], schema.BuiltinOptions.LessOptions, schema.LessOptionsT()
            )
        ],
    )
    add = schema.BuiltinOptions.AddOptions
    body = _graph(
        [
            _tensor("counter", [], number, nothing),
            _tensor("scores", [1, 3], real, nothing),
            _tensor("nought", [], number, constants),
            _tensor("nothing", [1], real, constants + 2),
            _tensor("same counter", [], number, nothing),
            _tensor("same scores", [1, 3], real, nothing),
        ],
        [0, 1],
        [4, 5],
        [
            _operator(code + 2, [0, 2], [4], add, schema.AddOptionsT()),
            _operator(code + 2, [1, 3], [5], add, schema.AddOptionsT()),
        ],
    )
    model.subgraphs += [condition, body]
    return _write(folder / "endless.tflite", model)


def _read(name: str) -> Any:
    content = (MODELS / f"{name}.tflite").read_bytes()
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))


def _write(path: Path, model: Any) -> Path:
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    (path.parent / "labels.txt").write_text("red\ngreen\nblue\n")
    return path


def _int(value: int) -> bytes:
    return np.array([value], np.int32).tobytes()


def _code(builtin: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, min(builtin, 127), 1
    return code


def _tensor(name: str, shape: list[int], kind: int, buffer: int) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, kind, buffer
    return tensor


def _operator(code: int, inputs: list[int], outputs: list[int], kind: int, options: Any) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, inputs, outputs
    operator.builtinOptionsType, operator.builtinOptions = kind, options
    return operator


def _graph(tensors: list[Any], inputs: list[int], outputs: list[int], operators: list[Any]) -> Any:
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs = tensors, inputs, outputs
    graph.operators = operators
    return graph
