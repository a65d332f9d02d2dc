"""How every figure looks: one palette, one set of sizes, a light grid.

A notebook calls `use_style()` once, after its imports. Figures come from `new_figure`, which goes
around pyplot: a cell that ends with the figure shows it exactly once, and nothing piles up.
"""

import hashlib
import io
import os
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from reidlab.common import paths
from reidlab.common.files import replacing
from reidlab.common.progress import is_batch

#: Inches. At `DPI` a figure of this width fills the text column of a notebook, unscaled.
PAGE_WIDTH = 9.0
DPI = 110

# Okabe and Ito, "Color Universal Design" (2008): told apart with every common colour blindness.
# The order puts the strongest contrasts first; its yellow is left out, unreadable on white.
BLUE = "#0072B2"
VERMILLION = "#D55E00"
GREEN = "#009E73"
PURPLE = "#CC79A7"
ORANGE = "#E69F00"
SKY = "#56B4E9"
BLACK = "#222222"
GREY = "#8C8C8C"
LIGHT = "#DDDDDD"
PALETTE = [BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK]

# What a frame around a picture says. Colour never says it alone: add a mark or a word.
QUERY = BLACK
RIGHT = GREEN
WRONG = VERMILLION
UNKNOWN = GREY

#: White to dark blue, for heat maps: light stays light in print.
SEQUENTIAL = LinearSegmentedColormap.from_list(
    "reidlab", ["#FFFFFF", "#CFE3F1", "#7DB8DC", BLUE, "#01304C"]
)

#: Vermillion below, blue above, white at zero.
DIVERGING = LinearSegmentedColormap.from_list(
    "reidlab-diverging", ["#7A2E00", VERMILLION, "#F3B58A", "#FFFFFF", "#7DB8DC", BLUE, "#01304C"]
)

#: Where a picture says what it is: beside it in a notebook, within it as a file.
NOTE = "reidlab"
#: Of a figure that :func:`is_chart`.
CHART = {NOTE: "chart"}
#: Of a figure with pictures of generated people, which may be shown everywhere.
GENERATED = {NOTE: "generated people"}
#: Where pictures of real people go for a screen; git ignores it.
PRIVATE = paths.ROOT / "private"

SETTINGS = {
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "figure.facecolor": "white",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "figure.titlesize": 12,
    "axes.prop_cycle": matplotlib.cycler(color=PALETTE),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "image.cmap": "viridis",
    "image.interpolation": "nearest",
}


def use_style() -> None:
    """Set the look of all figures, and have a notebook show them."""
    matplotlib.rcParams.update(SETTINGS)
    _show_in_notebook()


def _show_in_notebook() -> None:
    """Let a cell that ends with a figure show it, also one that pyplot never saw.

    In a kernel the inline backend teaches IPython to draw figures, but pyplot loads it only when
    it makes the first figure of its own.
    """
    try:
        from IPython import get_ipython
    except ImportError:
        return
    shell = get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return
    from matplotlib_inline.backend_inline import configure_inline_support

    configure_inline_support(shell, "module://matplotlib_inline.backend_inline")
    # Pictures of people as JPEG: a fifth of the bytes, in notebooks that stand in git.
    formatters = shell.display_formatter.formatters
    formatters["image/png"].for_type(Figure, lambda figure: _encoded(figure, "png"))
    formatters["image/jpeg"].for_type(Figure, lambda figure: _encoded(figure, "jpeg"))
    formatters["text/html"].for_type(Figure, _on_screen)


def note(figure: Figure) -> dict[str, str] | None:
    """What a figure says of itself: a chart, generated people; None where it may show others."""
    if getattr(figure, "shows_generated", False):
        return GENERATED
    return CHART if is_chart(figure) else None


def _encoded(figure: Figure, kind: str) -> tuple[bytes, dict[str, str]] | bytes | None:
    """A figure as a notebook stores it, with its note; None where another format serves."""
    about = note(figure)
    if _shows_somebody(figure) or kind != ("jpeg" if holds_pictures(figure) else "png"):
        return None
    content = _jpeg(figure) if kind == "jpeg" else png(figure, **_layout(figure))
    return (content, about) if about else content


def _on_screen(figure: Figure) -> str | None:
    """Photographs of people as a page that shows a file: saving a notebook keeps its name only."""
    if not _shows_somebody(figure):
        return None
    if is_batch():
        return "<em>Photographs of real people, which are shown on screen only.</em>"
    content = _jpeg(figure)
    file = PRIVATE / f"{hashlib.sha256(content).hexdigest()[:16]}.jpg"
    with replacing(PRIVATE / ".gitignore") as scratch:
        scratch.write_text("*\n")
    with replacing(file) as scratch:
        scratch.write_bytes(content)
    return f'<img src="{os.path.relpath(file)}" alt="Photographs of real people: not saved">'


def _shows_somebody(figure: Figure) -> bool:
    return holds_pictures(figure) and note(figure) != GENERATED


def _layout(figure: Figure) -> dict[str, Any]:
    return {"bbox_inches": "tight", "dpi": figure.dpi}


def _jpeg(figure: Figure) -> bytes:
    stream, small = io.BytesIO(), {"quality": 90, "subsampling": 0}
    figure.savefig(stream, format="jpeg", pil_kwargs=small, **_layout(figure))
    return stream.getvalue()


def png(figure: Figure, **options: Any) -> bytes:
    """A figure as PNG with a palette, a third of the bytes: without date or version in it.

    Args:
        figure: what to save.
        options: of ``Figure.savefig``.
    """
    stream, small = io.BytesIO(), io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None}, **options)
    pictures = holds_pictures(figure)
    dither = Image.Dither.FLOYDSTEINBERG if pictures else Image.Dither.NONE
    image = Image.open(stream).convert("RGB")
    # Median cut may leave out a colour of few pixels, such as that of a thin line; an octree not.
    method = Image.Quantize.MEDIANCUT if pictures else Image.Quantize.FASTOCTREE
    palette = image.quantize(256, method=method)
    about = PngInfo()
    for key, text in (note(figure) or {}).items():
        about.add_text(key, text)
    image.quantize(palette=palette, dither=dither).save(small, "png", optimize=True, pnginfo=about)
    return small.getvalue()


def is_chart(figure: Figure) -> bool:
    """Whether a figure is one of the house's and holds numbers only, no pixels of an image."""
    return getattr(figure, "from_new_figure", False) and not holds_pictures(figure)


def holds_pictures(figure: Figure) -> bool:
    """Whether a figure shows coloured pixels, or somebody has said so."""
    coloured = any(image.get_array().ndim == 3 for axes in figure.axes for image in axes.images)
    return coloured or getattr(figure, "marked", False)


def new_figure(
    height: float, rows: int = 1, columns: int = 1, width: float = PAGE_WIDTH, **layout: Any
) -> tuple[Figure, Any]:
    """An empty figure in the house's style, laid out so that no labels overlap.

    Args:
        height: inches.
        rows: of axes.
        columns: of axes.
        width: inches; default is the page's width.
        **layout: of `Figure.subplots`: `sharex`, `width_ratios`, `squeeze` …

    Returns:
        The figure, and its axes as `Figure.subplots` gives them.
    """
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(width, height), layout="constrained", dpi=DPI)
        figure.from_new_figure = True
        return figure, figure.subplots(rows, columns, **layout)


def plain_image(axes: Axes, image: Any = None, frame: str | None = None) -> Axes:
    """Turn axes into a picture: no ticks, no grid; a coloured frame if one is asked for.

    Args:
        axes: where to draw.
        image: (H, W, 3) uint8 or (3, H, W) uint8 array or tensor; None leaves the axes empty.
        frame: colour of the frame.
    """
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set(visible=frame is not None, color=frame, linewidth=3)
    if image is not None:
        pixels = image.numpy() if hasattr(image, "numpy") else image
        if pixels.shape[0] == 3 and pixels.shape[-1] != 3:
            pixels = pixels.transpose(1, 2, 0)
        axes.imshow(pixels, interpolation="antialiased")
        mark_pictures(axes.figure)
    return axes


def mark_pictures(figure: Figure) -> None:
    """Say that a figure holds pictures, which a notebook then stores as JPEG."""
    figure.marked = True


def generated(figure: Figure) -> Figure:
    """Say that all pictures of a figure show generated people, so that every profile keeps it."""
    figure.shows_generated = True
    return figure
