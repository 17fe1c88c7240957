"""Multinomial logistic regression with an L2 penalty, NumPy alone.

    minimise  sum_i weight_i * -log softmax(x_i W + b)[class_i]  +  |W|^2 / (2 C)

The bias is not penalised. Source: L-BFGS, Nocedal and Wright, Numerical Optimization, 7.4 and 7.5;
scikit-learn's LogisticRegression has the same objective and meaning of C. Deterministic. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Points = NDArray[np.floating]
"""Of samples: float64 of a few, float32 of many."""
Loss = Callable[[Array], tuple[float, Array]]
"""Values -> the loss and its gradient."""
MEMORY: Final = 12
"""Steps that the quasi-Newton matrix remembers."""
ITERATIONS: Final = 300
TOLERANCE: Final = 1e-4
"""Largest gradient at the end, for each sample."""
ARMIJO: Final = 1e-4
HALVINGS: Final = 25


class Fit(NamedTuple):
    """weights (D, C) and bias (C,): score = softmax(x @ weights + bias)."""

    weights: Array
    bias: Array

    def scores(self, x: Points) -> Array:
        """Return the probabilities of x (N, D), (N, C)."""
        return softmax(x @ self.weights.astype(x.dtype) + self.bias)


def softmax(logits: Array) -> Array:
    """Return probabilities for logits, along the last axis."""
    exponent = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(exponent / exponent.sum(axis=-1, keepdims=True))


def fit(
    x: Points,
    classes: NDArray[np.int64],
    classes_total: int,
    strength: float,
    weights: Array | None = None,
    start: Fit | None = None,
) -> Fit:
    """Return the regression.

    x         (N, D) float32 or float64; nothing of its size is allocated
    classes   (N,) numbers below ``classes_total``
    strength  C, the inverse of the penalty
    weights   (N,) how much each sample counts; None: 1 each
    start     where to begin: the fit for a similar strength
    """
    count, size = x.shape
    often = np.ones(count) if weights is None else weights
    rows = np.arange(count)

    def loss(values: Array) -> tuple[float, Array]:
        theta = values.reshape(size + 1, classes_total)
        inner = theta[:-1]
        logits = (x @ inner.astype(x.dtype)).astype(np.float64) + theta[-1]
        logits -= logits.max(axis=1, keepdims=True)
        own = logits[rows, classes]
        off = np.exp(logits, out=logits)
        total = off.sum(axis=1, keepdims=True)
        likelihood = (np.log(total[:, 0]) - own) @ often
        off /= total
        off[rows, classes] -= 1.0
        off *= often[:, None]
        gradient = np.empty_like(theta)
        gradient[:-1] = x.T @ off.astype(x.dtype) + inner / strength
        gradient[-1] = off.sum(0)
        return float(likelihood + 0.5 * (inner**2).sum() / strength), gradient.ravel()

    begin = np.zeros((size + 1, classes_total))
    if start is not None:
        begin[:-1], begin[-1] = start.weights, start.bias
    theta = _minimise(loss, begin.ravel(), TOLERANCE * float(often.sum()) / classes_total)
    found = theta.reshape(size + 1, classes_total)
    return Fit(found[:-1], found[-1])


def _minimise(loss: Loss, at: Array, tolerance: float) -> Array:
    """Return where ``loss`` is least, by L-BFGS with backtracking; ``loss`` must be convex."""
    value, gradient = loss(at)
    steps: list[tuple[Array, Array, float]] = []
    for _ in range(ITERATIONS):
        if np.abs(gradient).max() <= tolerance:
            break
        direction = -_inverse_hessian(steps, gradient)
        slope = float(direction @ gradient)
        if slope >= 0:  # rounding has spoilt the matrix
            steps.clear()
            direction, slope = -gradient, -float(gradient @ gradient)
        length = 1.0 if steps else 1.0 / max(1.0, float(np.abs(gradient).sum()))
        for _ in range(HALVINGS):
            there = at + length * direction
            new, slopes = loss(there)
            if new <= value + ARMIJO * length * slope:
                break
            length /= 2
        else:
            break  # no progress that floating point could show
        step, change = there - at, slopes - gradient
        curvature = float(step @ change)
        if curvature > 1e-10 * float(change @ change):
            steps = [*steps[-MEMORY + 1 :], (step, change, 1.0 / curvature)]
        at, value, gradient = there, new, slopes
    return at


def _inverse_hessian(steps: Sequence[tuple[Array, Array, float]], gradient: Array) -> Array:
    """Return the approximate inverse Hessian times ``gradient``: the two-loop recursion."""
    q = gradient.copy()
    shares = []
    for step, change, rho in reversed(steps):
        share = rho * float(step @ q)
        shares.append(share)
        q -= share * change
    if steps:
        step, change, rho = steps[-1]
        q *= 1.0 / (rho * float(change @ change))
    for (step, change, rho), share in zip(steps, reversed(shares), strict=True):
        q += step * (share - rho * float(change @ q))
    return q
