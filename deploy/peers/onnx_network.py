"""The shipped int8 network as ONNX, so that runtimes without TFLite's format can be measured.

    python -m deploy.peers.onnx_network MODEL.tflite INT8.onnx FLOAT.onnx

INT8 has the same weights, scales and zero points, with QuantizeLinear and DequantizeLinear around
each operator, which onnxruntime turns into integer operators. FLOAT is the same network with its
weights as real numbers and nothing rounded between layers. Neither gives the same bits: TFLite
multiplies sums by a fixed-point number, ONNX by a float. Input: (1, 3, H, W) float32, pixels 0 to
255; output: (1, C) float32.

Reads the operators of MobileNets, as ai-edge-litert describes them: strides and activations follow
from shapes and ranges. Raises ValueError at any other operator.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET: Final = 13
IR: Final = 8
"""Read by every runtime that reads OPSET."""
CONVOLUTIONS: Final = ("CONV_2D", "DEPTHWISE_CONV_2D")
RELU6: Final = 6.0


class Writer:
    """Writes one network, operator by operator.

    quantised  with the roundings of int8
    """

    def __init__(self, interpreter: Any, quantised: bool) -> None:
        self._details = {one["index"]: one for one in interpreter.get_tensor_details()}
        self._read, self._quantised = interpreter.get_tensor, quantised
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Add a constant; return its name."""
        self._constants.append(numpy_helper.from_array(values, name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **options: Any) -> str:
        """Add a node; return its output."""
        self._nodes.append(helper.make_node(kind, inputs, [output], name=output, **options))
        return output

    def scaled(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
        """Return a tensor's scales and zero points."""
        how = self._details[index]["quantization_parameters"]
        return how["scales"].astype(np.float32), how["zero_points"].astype(np.int8)

    def shape(self, index: int) -> list[int]:
        """Return a tensor's shape."""
        return [int(side) for side in self._details[index]["shape"]]

    def rounded(self, index: int, name: str) -> str:
        """Return ``name``'s values after the rounding of tensor ``index``."""
        if not self._quantised:
            return name
        scale, zero = self.scaled(index)
        ends = [
            self.constant(f"t{index}_scale", scale.reshape(())),
            self.constant(f"t{index}_zero", zero.reshape(())),
        ]
        small = self.node("QuantizeLinear", [name, *ends], f"t{index}_q")
        return self.node("DequantizeLinear", [small, *ends], f"t{index}")

    def weights(self, index: int, order: tuple[int, ...], axis: int) -> str:
        """Return a constant's real values, its dimensions in another order.

        axis  of the channels in that order
        """
        scale, zero = self.scaled(index)
        values = np.ascontiguousarray(self._read(index).transpose(order))
        if not self._quantised:
            sides = [1] * values.ndim
            sides[axis] = -1
            return self.constant(f"w{index}", values.astype(np.float32) * scale.reshape(sides))
        ends = [
            self.constant(f"w{index}_scale", scale),
            self.constant(f"w{index}_zero", zero),
        ]
        raw = self.constant(f"w{index}_q", values)
        return self.node("DequantizeLinear", [raw, *ends], f"w{index}", axis=axis)

    def bias(self, index: int) -> str:
        """Return a bias's real values; its zero point is 0."""
        scale = self._details[index]["quantization_parameters"]["scales"].astype(np.float32)
        if not self._quantised:
            return self.constant(f"b{index}", self._read(index).astype(np.float32) * scale)
        ends = [
            self.constant(f"b{index}_scale", scale),
            self.constant(f"b{index}_zero", np.zeros(scale.shape, np.int32)),
        ]
        raw = self.constant(f"b{index}_q", self._read(index))
        return self.node("DequantizeLinear", [raw, *ends], f"b{index}", axis=0)

    def convolution(self, depthwise: bool, inputs: list[int], output: int, taken: str) -> str:
        """Add a convolution, with its ReLU6 where the output's range begins at 0."""
        _, height, _, channels = self.shape(inputs[0])
        _, after, _, _ = self.shape(output)
        kernel = self.shape(inputs[1])[1]
        stride = -(-height // after)
        missing = max((after - 1) * stride + kernel - height, 0)
        before = missing // 2
        order = (3, 0, 1, 2) if depthwise else (0, 3, 1, 2)
        whole = self.node(
            "Conv",
            [taken, self.weights(inputs[1], order, 0), self.bias(inputs[2])],
            f"c{output}",
            strides=[stride, stride],
            pads=[before, before, missing - before, missing - before],
            group=channels if depthwise else 1,
        )
        scale, zero = self.scaled(output)
        if zero[0] != np.iinfo(np.int8).min:
            return whole
        if abs(float(scale[0]) * 255 - RELU6) > 1e-3:
            raise ValueError(f"tensor {output}: a range of another activation than ReLU6")
        if self._quantised:
            return whole  # the rounding that follows cuts both ends off
        ends = [self.constant(f"r{output}_{n}", np.array(n * RELU6, np.float32)) for n in (0, 1)]
        return self.node("Clip", [whole, *ends], f"r{output}")

    def operator(self, kind: str, inputs: list[int], output: int, names: dict[int, str]) -> str:
        """Add an operator; return its output. ``names`` has those of the tensors so far."""
        taken = names[inputs[0]]
        if kind == "QUANTIZE":  # from uint8 to int8 and back: the pixels are whole numbers
            return taken
        if kind == "SOFTMAX":
            return self.node("Softmax", [taken], f"c{output}", axis=1)
        if kind in CONVOLUTIONS:
            made = self.convolution(kind == CONVOLUTIONS[1], inputs, output, taken)
        elif kind == "ADD":
            made = self.node("Add", [taken, names[inputs[1]]], f"c{output}")
        elif kind == "MEAN":
            made = self.node("GlobalAveragePool", [taken], f"c{output}")
            return self.node("Flatten", [self.rounded(output, made)], f"f{output}")
        elif kind == "FULLY_CONNECTED":
            made = self.node("MatMul", [taken, self.weights(inputs[1], (1, 0), 1)], f"m{output}")
            made = self.node("Add", [made, self.bias(inputs[2])], f"c{output}")
        else:
            raise ValueError(f"an operator that is not known here: {kind}")
        return self.rounded(output, made)

    def write(self, operators: list[Any], given: int, wanted: int) -> bytes:
        """Return the network as ONNX."""
        side = self.shape(given)[1]
        mean, std = (self.constant(name, np.array(127.5, np.float32)) for name in ("mean", "std"))
        real = self.node("Sub", ["image", mean], "centred")
        names = {given: self.node("Div", [real, std], "real")}
        for one in operators:
            output = int(one["outputs"][0])
            names[output] = self.operator(
                str(one["op_name"]), [int(index) for index in one["inputs"]], output, names
            )
        self.node("Identity", [names[wanted]], "scores")
        graph = helper.make_graph(
            self._nodes,
            "network",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, side, side])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, self.shape(wanted))],
            self._constants,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR
        )
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString())


def main(arguments: list[str]) -> None:
    """Write both."""
    from ai_edge_litert import interpreter as litert

    source, *targets = arguments
    made = litert.Interpreter(
        model_path=source,
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    made.allocate_tensors()
    ends = made.get_input_details()[0]["index"], made.get_output_details()[0]["index"]
    for target, quantised in zip(targets, (True, False), strict=True):
        content = Writer(made, quantised).write(made._get_ops_details(), *ends)
        Path(target).write_bytes(content)


if __name__ == "__main__":
    main(sys.argv[1:])
