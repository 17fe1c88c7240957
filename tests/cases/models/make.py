"""Makes the int16 model of this folder: tests/models/int8.tflite with activations of 16 bits.

    .venv/bin/python -m tests.cases.models.make

The others were made by hand, each a colour classifier that is unusual in one way; its name says in
which. ``big`` has 1,001 classes; the classes of the others are red, green and blue.
"""

from __future__ import annotations

from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

HERE = Path(__file__).parent
TOP = 32767
RANGES = {0: 1.0, 5: 2.0, 6: 2.0, 7: 6.0, 8: TOP / 32768}
"""Activation -> the largest real value it can hold."""
BIAS = 3


def int16(content: bytes) -> bytes:
    """Return an int8 model with int16 activations and a bias of 64 bits."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    (graph,) = model.subgraphs
    for index, top in RANGES.items():
        tensor = graph.tensors[index]
        tensor.type = schema.TensorType.INT16
        tensor.quantization.scale, tensor.quantization.zeroPoint = [top / TOP], [0]
    bias, weights = graph.tensors[BIAS], graph.tensors[4]
    stored = model.buffers[bias.buffer]
    real = np.frombuffer(bytes(stored.data), np.int32) * np.float64(bias.quantization.scale)
    scale = np.asarray(weights.quantization.scale, np.float64) * (RANGES[0] / TOP)
    bias.type = schema.TensorType.INT64
    bias.quantization.scale = [float(value) for value in scale]
    stored.data = np.frombuffer(np.round(real / scale).astype(np.int64).tobytes(), np.uint8)
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def main() -> None:
    """Write the model."""
    source = HERE.parents[1] / "models" / "int8.tflite"
    (HERE / "int16" / "m.tflite").write_bytes(int16(source.read_bytes()))


if __name__ == "__main__":
    main()
