"""A program inside the emulated Python: the answers and the cost of a runtime.

    guest.py answers PACKAGE MODEL INPUTS OUT    one row per input into OUT (.npy), facts as JSON
    guest.py marks PACKAGE MODEL                 marks for count.c, memory and base as JSON
    guest.py threads PACKAGE MODEL NUMBER        the threads added by an invocation, and the number
                                                 of PAUSES after which they slept

PACKAGE is tflite_runtime or ai_edge_litert; tflite_runtime:plain is without XNNPACK. INPUTS is
random:N, or a .npy of (N, H, W, 3) uint8 pixels. Knows nothing but NumPy and the runtime.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

PAGE = 4096
ENTRY = 8
"""Bytes of a page, and of its entry in pagemap; the highest bit: resident."""
PAUSES = 20
PAUSE_S = 0.001
"""Far shorter than a thread spins before it sleeps."""
WARM = 3
"""Invocations after the first; the last one is counted."""


def main(arguments: list[str]) -> None:
    """Run one command."""
    what, package, model, *rest = arguments
    if what == "answers":
        answers(package, model, *rest)
    elif what == "threads":
        print(*threads(package, model, int(rest[0])))
    else:
        marks(package, model)


def load(package: str, model: str, threads: int = 1) -> Any:
    """Return an interpreter with its tensors."""
    name, _, plain = package.partition(":")
    module = importlib.import_module(f"{name}.interpreter")
    resolvers = module.OpResolverType
    resolver = resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES if plain else resolvers.AUTO
    interpreter = module.Interpreter(
        model_path=model, num_threads=threads, experimental_op_resolver_type=resolver
    )
    interpreter.allocate_tensors()
    return interpreter


def pixels(inputs: str, shape: tuple[int, ...]) -> Iterator[NDArray[np.uint8]]:
    """Yield pictures, the same in every run."""
    kind, _, number = inputs.partition(":")
    if kind == "random":
        random = np.random.Generator(np.random.PCG64(6))
        for _ in range(int(number)):
            yield random.integers(0, 256, shape, np.uint8)
    else:
        yield from np.load(inputs, mmap_mode="r")[:, None]


def fill(interpreter: Any, detail: dict[str, Any], picture: NDArray[np.uint8]) -> None:
    """Write a picture's pixels into the input: shifted for int8, from -1 to 1 for float."""
    if detail["dtype"] == np.uint8:
        values: NDArray[Any] = picture
    elif detail["dtype"] == np.int8:
        values = (picture.astype(np.int16) - 128).astype(np.int8)
    else:
        values = picture.astype(np.float32) / np.float32(127.5) - np.float32(1)
    interpreter.set_tensor(detail["index"], values)


def answers(package: str, model: str, inputs: str, out: str) -> None:
    """Save the raw output of each input; print facts about the runtime."""
    interpreter = load(package, model)
    given = interpreter.get_input_details()[0]
    taken = interpreter.get_output_details()[0]
    rows = []
    for picture in pixels(inputs, tuple(given["shape"])):
        fill(interpreter, given, picture)
        interpreter.invoke()
        rows.append(interpreter.get_tensor(taken["index"]).reshape(-1))
    np.save(out, np.stack(rows))
    names = [op["op_name"] for op in interpreter._get_ops_details()]
    facts = {
        "package": package,
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "machine": os.uname().machine,
        "delegates": names.count("DELEGATE"),
        "nodes": len(names) - names.count("DELEGATE"),
    }
    print(json.dumps(facts))


def threads(package: str, model: str, number: int) -> tuple[int, int]:
    """Return the number of threads added, and of PAUSES after which all of them sleep."""
    before = set(os.listdir("/proc/self/task"))
    interpreter = load(package, model, number)
    interpreter.invoke()
    more = set(os.listdir("/proc/self/task")) - before
    asleep = 0
    for _ in range(PAUSES):
        interpreter.invoke()
        time.sleep(PAUSE_S)
        asleep += all(state(thread) == "S" for thread in more)
    return len(more), asleep


def state(thread: str) -> str:
    """Return the kernel's letter for a thread's state."""
    with open(f"/proc/self/task/{thread}/stat") as stream:
        return stream.read().rpartition(")")[2].split()[0]


def marks(package: str, model: str) -> None:
    """Mark the phases: before, imported, loaded, invoked once, then WARM times."""
    before = guest_rss_bytes()
    os.getppid()
    importlib.import_module(f"{package.partition(':')[0]}.interpreter")
    os.getppid()
    imported = guest_rss_bytes()
    os.getppid()
    interpreter = load(package, model)
    os.getppid()
    loaded = guest_rss_bytes()
    given = interpreter.get_input_details()[0]
    random = np.random.Generator(np.random.PCG64(6))
    fill(interpreter, given, random.integers(0, 256, tuple(given["shape"]), np.uint8))
    os.getppid()
    interpreter.invoke()
    os.getppid()
    invoked = guest_rss_bytes()
    for _ in range(WARM):
        os.getppid()
        interpreter.invoke()
    os.getppid()
    print(
        json.dumps(
            {
                "imported": imported - before,
                "loaded": loaded - before,
                "invoked": invoked - before,
                "base": base(package.partition(":")[0]),
            }
        )
    )


def base(package: str) -> int:
    """Return the address that the runtime's extension was loaded at."""
    with open("/proc/self/maps") as stream:
        mine = [line for line in stream if f"/{package}/" in line and "_pywrap" in line]
    return int(mine[0].partition("-")[0], 16)


def guest_rss_bytes() -> int:
    """Return the resident memory of the guest's own mappings, page by page.

    Under qemu-user, maps is the guest's and pagemap the host's: the addresses agree for 64 bits,
    not for 32. smaps would be wrong: the host merges adjacent mappings of the guest and of QEMU.
    Large buffers here would change what malloc keeps.
    """
    with open("/proc/self/maps") as stream:
        spans = [line.split()[0].split("-") for line in stream]
    resident, buffer = 0, memoryview(bytearray(512 * ENTRY))
    with open("/proc/self/pagemap", "rb", buffering=0) as pages:
        for low, high in spans:
            pages.seek(int(low, 16) // PAGE * ENTRY)
            left = (int(high, 16) - int(low, 16)) // PAGE * ENTRY
            while left > 0 and (taken := pages.readinto(buffer[:left])):
                resident += sum(highest >> 7 for highest in buffer[7:taken:ENTRY])
                left -= taken
    return resident * PAGE


if __name__ == "__main__":
    main(sys.argv[1:])
