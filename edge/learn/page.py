"""The report as one page: no script, nothing fetched, every text escaped. Pure."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

SUSPECTS: Final = 60
STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
table { border-collapse: collapse } td, th { padding: .2rem .8rem; text-align: right }
th:first-child, td:first-child { text-align: left } tr { border-bottom: 1px solid #8884 }
figure { display: inline-block; margin: .5rem; width: 9rem; font-size: .8rem } img { width: 100% }
.big { font-size: 2rem }
@media (prefers-color-scheme: dark) { body { background: #111; color: #ddd } }
"""


def page(name: str, found: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    """Return the page.

    found     of ``report.figures``
    pictures  name of a suspect -> a small JPEG
    """
    low, high = (100 * end for end in found["interval"])
    body = [
        f"<h1>{escape(name)}</h1>",
        f'<p class="big">{100 * found["accuracy"]:.1f} % right</p>',
        f"<p>{low:.1f} to {high:.1f} % with 95 % confidence, on pictures of moments that were not"
        f" taught. Verdict: <b>{escape(found['verdict'])}</b>.</p>",
        *_list("Warnings", found["warnings"]),
        *_classes(found),
        *_curve(found["curve"]),
        *_suspects(found["suspects"], pictures),
        *_list("Left out", [f"{one['picture']}: {one['reason']}" for one in found["unread"]]),
    ]
    head = f'<meta charset="utf-8"><title>{escape(name)}</title><style>{STYLE}</style>'
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(body)}</body></html>\n"


def _list(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        items = "".join(f"<li>{escape(line)}</li>" for line in lines)
        yield f"<h2>{title}</h2><ul>{items}</ul>"


def _classes(found: Mapping[str, Any]) -> Iterator[str]:
    labels = list(found["classes"])
    titles = ["", "pictures", "moments", "right", *(f"said {label}" for label in labels)]
    heads = "".join(f"<th>{escape(title)}</th>" for title in titles)
    yield f"<h2>Classes</h2><table><tr>{heads}</tr>"
    for label, one, row in zip(labels, found["classes"].values(), found["confusion"], strict=True):
        cells = "".join(f"<td>{count}</td>" for count in row)
        yield (
            f"<tr><td>{escape(label)}</td><td>{one['pictures']}</td><td>{one['moments']}</td>"
            f"<td>{100 * one['right']:.0f} %</td>{cells}</tr>"
        )
    yield "</table>"


def _curve(points: list[Mapping[str, Any]]) -> Iterator[str]:
    if points:
        rows = "".join(
            f"<tr><td>{p['pictures']}</td><td>{100 * p['accuracy']:.1f} %</td></tr>" for p in points
        )
        head = "<tr><th>taught</th><th>right</th></tr>"
        yield f"<h2>With fewer pictures</h2><table>{head}{rows}</table>"


def _suspects(suspects: list[Mapping[str, Any]], pictures: Mapping[str, bytes]) -> Iterator[str]:
    if suspects:
        yield "<h2>Perhaps in the wrong folder</h2>"
    for one in suspects[:SUSPECTS]:
        name = escape(one["picture"])
        content = base64.b64encode(pictures.get(one["picture"], b"")).decode()
        image = f'<img alt="{name}" src="data:image/jpeg;base64,{content}">' if content else ""
        caption = f"{name}: looks like {escape(one['looks_like'])} ({one['score']:.2f})"
        yield f"<figure>{image}<figcaption>{caption}</figcaption></figure>"
