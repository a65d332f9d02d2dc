"""A small line chart as SVG, in the page's own colours."""

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, LEFT, EDGE = 480, 200, 48, 24
DASHES = ("", "6 3", "2 3", "8 3 2 3")


def line_chart(lines: Mapping[str, Sequence[Sequence[float]]], title: str, below: str) -> str:
    """Draw lines; the first and last values of both axes are written at them.

    Args:
        lines: label -> (x, y) pairs, two or more.
        title: what y is.
        below: what x is.

    >>> 'points="48.0,176.0 456.0,24.0"' in line_chart({"a": [(0, 0), (1, 2)]}, "y", "x")
    True
    """
    points = [point for line in lines.values() for point in line]
    (x0, x1), (y0, y1) = ((min(axis), max(axis)) for axis in zip(*points))
    wide, high = (x1 - x0) or 1, (y1 - y0) or 1

    def at(x: float, y: float) -> str:
        return (
            f"{LEFT + (x - x0) / wide * (WIDTH - LEFT - EDGE):.1f},"
            f"{HEIGHT - EDGE - (y - y0) / high * (HEIGHT - 2 * EDGE):.1f}"
        )

    drawn = "".join(
        f'<polyline fill="none" stroke="currentColor" stroke-width="2" '
        f'stroke-dasharray="{DASHES[place % len(DASHES)]}" '
        f'points="{" ".join(at(x, y) for x, y in line)}"><title>{escape(label)}</title></polyline>'
        for place, (label, line) in enumerate(lines.items())
    )
    texts = (
        (LEFT - 6, EDGE + 5, "end", f"{y1:.3g}"),
        (LEFT - 6, HEIGHT - EDGE, "end", f"{y0:.3g}"),
        (LEFT, HEIGHT - 5, "start", f"{x0:g}"),
        (WIDTH - EDGE, HEIGHT - 5, "end", f"{below} {x1:g}"),
    )
    labels = "".join(
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="currentColor" font-size="12">'
        f"{escape(text)}</text>"
        for x, y, anchor, text in texts
    )
    said = f"{title}: from {y0:.3g} to {y1:.3g} over {below} {x0:g} to {x1:g}."
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" style="max-width:100%" '
        f'role="img" aria-label="{escape(said)}">{drawn}{labels}</svg>'
        f"<figcaption>{escape(said)}</figcaption></figure>"
    )
