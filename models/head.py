"""The last layer, fitted again: logistic regression on the features of whole training pictures.

Training ends with augmented views and a teacher's doubts; the daemon sees whole pictures. On the
features that the body gives for these, the best last layer is one convex fit away.
"""

from __future__ import annotations

from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from models import backbones, data, dataset

STRENGTHS: Final = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
"""scikit-learn's C, for standardised features; the one with the lowest validation loss is used."""
BATCH: Final = 64
PROBABLE: Final = 1e-9


def refit(model: Any, corpus: dataset.Dataset, backbone: backbones.Backbone, side: int) -> float:
    """Set the layer ``scores`` of ``model``; return the strength that was best."""
    from sklearn.linear_model import LogisticRegression

    body = keras.Model(model.input, model.get_layer("pool").output)
    parts = {}
    for part in ("train", "validation"):
        indices = corpus.indices(part)
        features = pooled(body, corpus, indices, backbone, side)
        often = data.mix([corpus.samples[i] for i in indices])
        parts[part] = features, corpus.classes[indices], often
    features, classes, often = parts["train"]
    held, truth, weights = parts["validation"]
    mean, deviation = features.mean(0), features.std(0) + 1e-6

    def fit(strength: float) -> Any:
        regression = LogisticRegression(C=strength, max_iter=300)
        return regression.fit((features - mean) / deviation, classes, sample_weight=often)

    def loss(fitted: Any) -> float:
        own = fitted.predict_proba((held - mean) / deviation)[np.arange(len(truth)), truth]
        return float(-(weights * np.log(np.maximum(own, PROBABLE))).mean())

    strength, best = min(((one, fit(one)) for one in STRENGTHS), key=lambda pair: loss(pair[1]))
    kernel, bias = best.coef_.T, best.intercept_
    if len(bias) == 1:  # of two classes scikit-learn keeps the second's alone
        kernel, bias = np.hstack([0 * kernel, kernel]), np.array([0.0, bias[0]])
    kernel = kernel / deviation[:, None]
    model.get_layer("scores").set_weights([kernel, bias - mean @ kernel])
    return strength


def pooled(
    body: Any,
    corpus: dataset.Dataset,
    indices: NDArray[np.int64],
    backbone: backbones.Backbone,
    side: int,
) -> NDArray[np.float32]:
    """Return the features of whole pictures, as the daemon feeds them, (n, F)."""
    found = []
    for start in range(0, len(indices), BATCH):
        pictures = np.stack(
            [
                data.shrink(corpus.pictures[index], side, corpus.how)
                for index in indices[start : start + BATCH]
            ]
        )
        inputs = data.to_input(pictures, backbone.mean, backbone.std)
        found.append(np.asarray(body(inputs, training=False)))
    return np.concatenate(found)
