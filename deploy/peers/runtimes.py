"""Measures one runtime on one network in this process: a program for `make bench-peers`.

    python -m deploy.peers.runtimes RUNTIME NETWORK INPUTS.npy THREADS SECONDS

RUNTIME is tflite_runtime, ai_edge_litert, onnxruntime or opencv. INPUTS are (N, H, W, 3) uint8 RGB
pictures; the last one stays in the input while the clock runs. THREADS 0: one for each core.
Prints one line of JSON: the figures, the version, and the label of each picture. What the runtime
refuses is {"refused": reason}. Knows nothing but NumPy and the runtime.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from deploy.peers import clock

Pictures = NDArray[np.uint8]
Made = tuple[str, Callable[[Pictures], NDArray[Any]], Callable[[], object]]
"""Version; what gives the scores of one picture; what runs the network again."""
SILENT: Final = 4
"""Of onnxruntime's severities: nothing below fatal is printed."""


def tflite(package: str, network: str, threads: int) -> Made:
    """Return a TFLite runtime."""
    module = importlib.import_module(f"{package}.interpreter")
    interpreter = module.Interpreter(model_path=network, num_threads=threads)
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]["index"]
    taken = interpreter.get_output_details()[0]["index"]

    def scores(picture: Pictures) -> NDArray[Any]:
        interpreter.set_tensor(given, picture[None])
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(taken)[0])

    return importlib.import_module(package).__version__, scores, interpreter.invoke


def onnx(network: str, threads: int) -> Made:
    """Return onnxruntime, its input and output bound to memory of their own."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = SILENT
    session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])

    def bound(picture: Pictures) -> Any:
        binding = session.io_binding()
        binding.bind_cpu_input("image", planar(picture))
        binding.bind_output("scores")
        return binding

    last: list[Any] = []

    def scores(picture: Pictures) -> NDArray[Any]:
        last[:] = [bound(picture)]
        session.run_with_iobinding(last[0])
        return np.asarray(last[0].copy_outputs_to_cpu()[0][0])

    return onnxruntime.__version__, scores, lambda: session.run_with_iobinding(last[0])


def opencv(network: str, threads: int) -> Made:
    """Return OpenCV's DNN module."""
    import cv2

    cv2.setNumThreads(threads)
    net = cv2.dnn.readNet(network)

    def scores(picture: Pictures) -> NDArray[Any]:
        net.setInput(planar(picture))
        return np.asarray(net.forward()[0])

    return cv2.__version__, scores, net.forward


def planar(picture: Pictures) -> NDArray[np.float32]:
    """Return a picture as the networks in ONNX take it, (1, 3, H, W)."""
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32)


def main(arguments: list[str]) -> None:
    """Measure; print the figures."""
    runtime, network, inputs, threads, seconds = arguments
    count = int(threads) or len(os.sched_getaffinity(0))
    try:
        if runtime == "onnxruntime":
            version, scores, again = onnx(network, count)
        elif runtime == "opencv":
            version, scores, again = opencv(network, count)
        else:
            version, scores, again = tflite(runtime, network, count)
        said = [int(np.argmax(scores(picture))) for picture in np.load(inputs)]
    except ImportError as exc:
        print(json.dumps({"refused": f"not installed: {exc}"}))
        return
    except Exception as exc:  # a runtime's own, of any kind: it becomes a line of the table
        reason = " ".join(str(exc).split())
        print(json.dumps({"refused": f"{Path(network).name}: {reason}"}))
        return
    figures = clock.measured(again, float(seconds))
    print(json.dumps({**figures, "version": version, "said": said}))


if __name__ == "__main__":
    main(sys.argv[1:])
