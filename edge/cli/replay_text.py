"""What `edge replay` prints for people. Pure; text from a recording is escaped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from edge.cli.compare import NEAR_S, Change, Comparison, Span
from edge.text import escaped

SHOWN: Final = 20
"""Differences, and pairs of labels, that are printed; ``--json`` has more."""
UNCERTAIN: Final = "(uncertain)"


def event(model: str, number: int, at_s: float, event: Mapping[str, Any]) -> str:
    """Return the line of a change of label."""
    score = event["evidence"]["score"]
    change = f"{_label(event['before'])} -> {_label(event['after'])} ({score:.2f})"
    return escaped(f"{at_s:10.3f} s  frame {number:>7}  {model}: {change}")


def recorded(event: Mapping[str, Any]) -> str:
    """Return the line of another event, which the recording holds."""
    evidence = event.get("evidence")
    pairs = evidence.items() if isinstance(evidence, dict) else ()
    return escaped(" ".join([f"recorded: {event.get('type')}", *(f"{k}={v}" for k, v in pairs)]))


def summary(figures: Mapping[str, Any]) -> str:
    """Return the line of one model's figures."""
    counts = [*figures["labels"].items(), (UNCERTAIN, figures["uncertain"])]
    labels = ", ".join(f"{label} {count}" for label, count in counts)
    text = f"{figures['model']}: {figures['frames']} frames, {figures['seconds']:.1f} s,"
    text += f" {figures['label_changes']} changes of label; {labels}"
    if figures["invalid_scores"]:
        text += f"; {figures['invalid_scores']} frames without scores"
    return escaped(text)


def comparison(found: Comparison) -> Iterator[str]:
    """Yield the lines of a comparison, the verdict first."""
    text = f"{found.a} and {found.b}: {found.differ} of {found.frames} frames differ,"
    text += f" agreement {found.agreement:.2%}"
    yield escaped(text)
    if found.best_agree is not None:
        yield f"  best label of each frame alone: agreement {found.best_agree:.2%}"
    if found.score_difference is not None:
        yield f"  largest difference of a score: {found.score_difference:.6f}"
    yield escaped(
        f"  changes of label: {found.changes_both} at the same frame,"
        f" {found.changes_near} within {NEAR_S:g} s,"
        f" {found.changes_a} of {found.a} alone, {found.changes_b} of {found.b} alone"
    )
    yield escaped(f"  frames by label: {found.a}, {found.b}")
    for pair in found.confusion[:SHOWN]:
        mark = "" if pair.a == pair.b else "   <-"
        yield escaped(f"{pair.frames:>10}  {_label(pair.a)}, {_label(pair.b)}{mark}")
    yield from _more(len(found.confusion))
    if found.spans:
        yield "  differences:"
        yield from map(_span, found.differences[:SHOWN])
        yield from _more(found.spans)
    if found.changes:
        yield "  changes of one alone:"
        names = {"a": found.a, "b": found.b}
        yield from (_change(change, names[change.side]) for change in found.changes[:SHOWN])
        yield from _more(found.changes_a + found.changes_b)


def _span(span: Span) -> str:
    frames = f"frame {span.first}" if span.frames == 1 else f"frames {span.first} to {span.last}"
    return escaped(f"{span.begin_s:10.3f} s  {frames}: {_label(span.a)}, {_label(span.b)}")


def _change(change: Change, name: str) -> str:
    words = f"{_label(change.before)} -> {_label(change.after)}"
    return escaped(f"{change.at_s:10.3f} s  frame {change.frame}  {name}: {words}")


def _more(total: int) -> Iterator[str]:
    if total > SHOWN:
        yield f"             and {total - SHOWN} more"


def _label(label: str | None) -> str:
    return UNCERTAIN if label is None else label
