"""The head: a network's features become probabilities, by one affine map and a softmax.

What stands before the map (the quantisation of the output, the standardisation of the features) is
folded into it when the head is made; a frame takes one copy, one product and one softmax. The
product runs on the caller's thread: a BLAS would start threads of its own for many labels, beside
the interpreter's. Pure; reading a frame allocates nothing.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelError
from edge.model.card import TensorSpec
from edge.model.features import features_total
from edge.model.headfile import Head
from edge.model.scores import Scores

LARGEST: Final = 1e9
"""Of a weight, standardised; with it no sum of features overflows."""


class HeadScores:
    """Reads one output tensor as features, and gives a score for each label.

    head          F features, C labels
    output        (1, F)
    labels_total  C, how many labels the card has
    where         the network's file
    Raises ModelError where these do not agree.
    """

    def __init__(self, head: Head, output: TensorSpec, labels_total: int, where: str) -> None:
        total = features_total(output, where)
        for name, own, expected, of in (
            ("features", head.weights.shape[0], total, "its network gives"),
            ("labels", head.weights.shape[1], labels_total, "its card has"),
        ):
            if own != expected:
                raise ModelError(
                    f"the head does not fit the {name} that {of}",
                    where=str(head.path),
                    expected=str(expected),
                    got=str(own),
                    hint="teach the head again" if name == "features" else "correct `labels`",
                )
        self.size = labels_total
        weights, bias = folded(head, output)
        most = float(max(np.abs(weights).max(), np.abs(bias).max()))
        if not most <= LARGEST:
            raise ModelError(
                "the head's values are too large",
                where=str(head.path),
                expected=f"`weights` / `std` of at most {LARGEST:g}",
                got=f"{most:g}",
            )
        self._weights, self._bias = weights, bias
        self._features = np.zeros(total, np.float32)
        self._scale, self._zero_point = output.scale, output.zero_point
        self._logits = np.zeros(labels_total, np.float32)
        logits = TensorSpec((1, labels_total), self._logits.dtype, 0.0, 0)
        self._scores = Scores(logits, labels_total, "logits", 0.0)

    def read(self, tensor: NDArray[Any], out: NDArray[np.float32]) -> bool:
        """Write the probabilities into ``out`` and return True; False where there are none.

        tensor  the output's values, read only
        out     (C,) float32 in label order, 0 to 1; as it was where there are none
        """
        np.copyto(self._features, tensor.reshape(-1), casting="unsafe")
        np.einsum("cf,f->c", self._weights, self._features, out=self._logits)
        np.add(self._logits, self._bias, out=self._logits)
        return self._scores.read(self._logits, out)

    def features(self) -> NDArray[np.float32]:
        """Return the features read last, (F,) float32, the caller's own."""
        if not self._scale:
            return self._features.copy()
        return (self._features - np.float32(self._zero_point)) * np.float32(self._scale)

    @property
    def finite(self) -> bool:
        """Whether what the map gave last are finite numbers; not where a feature is none."""
        return self._scores.finite

    def fault(self) -> str:
        """Return why what was read last gives no probabilities."""
        return self._scores.fault()


def folded(head: Head, output: TensorSpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weights (C, F) and bias (C,) for the output's own values.

    features = scale * (q - zero_point), standardised = (features - mean) / std
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite then is refused
        weights = head.weights.astype(np.float64) / head.std.astype(np.float64)[:, np.newaxis]
        bias = head.bias - head.mean.astype(np.float64) @ weights
        if output.scale:
            bias -= output.scale * output.zero_point * weights.sum(axis=0)
            weights *= output.scale
        return np.ascontiguousarray(weights.T, np.float32), bias.astype(np.float32)
