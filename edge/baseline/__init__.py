"""What pictures and scores were like when a model was taught: figures, and their usual range.

figures.py  measures a picture and the scores for it
build.py    many of these become a baseline, and its file's bytes
"""

from edge.baseline.build import FEWEST, LARGEST, Baseline, build, checked, distances, encode
from edge.baseline.figures import (
    FIGURES,
    OF_PICTURES,
    OF_SCORES,
    OF_THE_MODEL,
    REASONS,
    Gauge,
    joined,
    score_figures,
)

__all__ = [
    "FEWEST",
    "FIGURES",
    "LARGEST",
    "OF_PICTURES",
    "OF_SCORES",
    "OF_THE_MODEL",
    "REASONS",
    "Baseline",
    "Gauge",
    "build",
    "checked",
    "distances",
    "encode",
    "joined",
    "score_figures",
]
