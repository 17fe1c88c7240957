"""A network's output values become probabilities, or a reason why they are none.

Values that are not finite, not between 0 and 1, or do not sum to 1 where they should are never
passed on: one such frame in a window would falsify those that follow. Pure; allocates nothing after
its construction.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.model.card import Activation, TensorSpec

NEAR: Final = 1e-3
"""Allowed excess beyond 0 and 1, from float arithmetic."""
LEAST: Final = 87.0
"""A logit so far below 0 is a probability of 0 in float32."""
WIDEST: Final = 1e38
"""The difference of two float32 may be too large for a float32."""
SUM_NEAR: Final = 0.02
"""Allowed distance of a sum from 1."""
COARSEST: Final = 1 / 64
"""The largest step that quantised probabilities are rounded to; 1/256 is usual."""


class Scores:
    """Reads one output tensor.

    output        (1, C), or one value
    labels_total  C
    activation    what the values mean
    step          of the quantisation of the values; 0: float
    """

    def __init__(
        self, output: TensorSpec, labels_total: int, activation: Activation, step: float
    ) -> None:
        values = int(np.prod(output.shape))
        self.size = labels_total
        sane = abs(output.scale) <= 1e30  # else NaN: refused as such, without overflow
        self._scale, self._zero_point = output.scale if sane else math.nan, output.zero_point
        self._one_value = values == 1 and labels_total == 2
        self._logits = activation == "logits"
        self._sums = activation == "softmax"
        step = min(step, COARSEST)
        self._low, self._high = -(step + NEAR), 1 + step + NEAR
        self._off = SUM_NEAR + values * step
        self._raw = np.zeros(values, np.float32)

    def read(self, tensor: NDArray[Any], out: NDArray[np.float32]) -> bool:
        """Write the probabilities into ``out`` and return True; False where there are none.

        tensor  the output's values, read only
        out     (C,) float32 in label order, 0 to 1; as it was where they are not probabilities
        Source: Jacob et al. 2018, eq. 1.
        """
        raw = self._raw
        np.copyto(raw, tensor.reshape(-1), casting="unsafe")
        if self._scale:
            raw -= self._zero_point
            raw *= self._scale
        if self._logits:
            return self._from_logits(out)
        # argmin and argmax return a NaN as the least and the greatest; 0.2 us each.
        low, high = raw.item(raw.argmin()), raw.item(raw.argmax())
        if not (self._low <= low and high <= self._high):
            return False
        if self._sums and abs(float(raw.sum()) - 1.0) > self._off:
            return False
        if low < 0.0 or high > 1.0:  # from rounding
            np.clip(raw, 0.0, 1.0, out=raw)
        if self._one_value:
            out[1] = raw[0]
            out[0] = 1.0 - raw[0]
        else:
            out[...] = raw
        return True

    def _from_logits(self, out: NDArray[np.float32]) -> bool:
        raw = self._raw
        low, high = raw.item(raw.argmin()), raw.item(raw.argmax())
        if not (math.isfinite(low) and math.isfinite(high)):
            return False
        if self._one_value:
            out[1] = 1.0 / (1.0 + math.exp(-min(max(high, -LEAST), LEAST)))
            out[0] = 1.0 - out[1]
            return True
        if high - low > WIDEST:
            np.clip(raw, -WIDEST, WIDEST, out=raw)
            high = min(high, WIDEST)
        raw -= high
        np.exp(raw, out=raw)
        np.divide(raw, raw.sum(), out=out)
        return True

    @property
    def finite(self) -> bool:
        """Whether the values read last are finite numbers."""
        return bool(np.isfinite(self._raw).all())

    def fault(self) -> str:
        """Return why the values read last are not probabilities; empty where they are."""
        if not self.finite:
            bad = int((~np.isfinite(self._raw)).sum())
            return f"{bad} of {len(self._raw)} values not finite"
        if self._logits:
            return ""
        raw = self._raw.astype(np.float64)
        low, high, total = float(raw.min()), float(raw.max()), float(raw.sum())
        if low < self._low or high > self._high:
            return f"values from {low:.4g} to {high:.4g}, expected 0 to 1"
        if self._sums and abs(total - 1.0) > self._off:
            return f"a sum of {total:.4g}, expected 1"
        return ""
