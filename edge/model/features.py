"""A network's output as features: pooled values without a meaning of their own.

Pure; allocates nothing after its construction.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelError
from edge.model.card import TensorSpec

FEATURES_MAX: Final = 65_536
"""Of a picture; EfficientNet-B7 has 2,560."""


class Features:
    """Reads one output tensor as float32.

    output  (1, F)
    size    F
    """

    def __init__(self, output: TensorSpec, where: str) -> None:
        self.size = features_total(output, where)
        self._scale, self._zero_point = output.scale, output.zero_point
        self._raw = np.zeros(self.size, np.float32)

    def read(self, tensor: NDArray[Any], out: NDArray[np.float32]) -> bool:
        """Write the features into ``out`` and return True; False where one is not finite.

        tensor  the output's values, read only
        out     (F,) float32; as it was where one is not finite
        Source: Jacob et al. 2018, eq. 1.
        """
        raw = self._raw
        np.copyto(raw, tensor.reshape(-1), casting="unsafe")
        if self._scale:
            raw -= self._zero_point
            raw *= self._scale
        if not (math.isfinite(raw.item(raw.argmin())) and math.isfinite(raw.item(raw.argmax()))):
            return False
        out[...] = raw
        return True

    @property
    def finite(self) -> bool:
        """Whether the values read last are finite numbers."""
        return bool(np.isfinite(self._raw).all())

    def fault(self) -> str:
        """Return how many of the values read last are not finite; empty where all are."""
        bad = int((~np.isfinite(self._raw)).sum())
        return f"{bad} of {self.size} features not finite" if bad else ""


def features_total(output: TensorSpec, where: str) -> int:
    """Return F of an output (1, F). Raises ModelError where it is not one pooled row."""
    total = output.shape[-1] if output.shape else 0
    if not 0 < total <= FEATURES_MAX or math.prod(output.shape) != total:
        raise ModelError(
            "the model's output is not pooled features",
            where=where,
            expected=f"(1, features), at most {FEATURES_MAX}",
            got=str(tuple(output.shape)),
            hint="convert it with a global average pooling as its last layer",
        )
    return total
