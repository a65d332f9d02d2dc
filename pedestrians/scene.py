"""What a fixed camera looks at: ground in perspective, walls, plants and static objects."""

from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT = 900, 520


@dataclass(frozen=True)
class Scene:
    """A camera's empty view.

    Attributes:
        image: RGB, WIDTH x HEIGHT pixels.
        horizon: row of the horizon (may lie above the image).
        near, far: rows between which feet can stand.
        slope: height of an average adult in pixels, per row of the feet below the horizon.
    """

    image: Image.Image
    horizon: float
    near: float
    far: float
    slope: float


def noise(rng: np.random.Generator, height: int, width: int, cell: int) -> np.ndarray:
    """Smooth noise (height, width) around 0 with a standard deviation of about 0.3."""
    coarse = rng.normal(0, 0.5, (height // cell + 2, width // cell + 2)).astype(np.float32)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image)


def make_scene(rng: np.random.Generator, domain: str) -> Scene:
    """Draw the scene of one camera ("mixed" takes either domain's kind)."""
    kind = domain if domain != "mixed" else ("a" if rng.random() < 0.65 else "b")
    outdoor = kind == "a"
    horizon = float(rng.uniform(-60, 90))
    slope = float(rng.uniform(0.62, 0.85))
    wall = horizon + rng.uniform(70, 150)
    canvas = np.empty((HEIGHT, WIDTH, 3), np.float32)
    canvas[:] = _ground(rng, horizon, outdoor)
    image = Image.fromarray((canvas.clip(0, 1) * 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    if wall > 8:
        _backdrop(rng, image, pen, int(wall), outdoor)
    far = max(wall + 12, horizon + 150)
    _objects(rng, pen, horizon, wall, slope, outdoor)
    speckle = noise(rng, HEIGHT, WIDTH, 3) * 0.05 + noise(rng, HEIGHT, WIDTH, 40) * 0.10
    pixels = np.asarray(image, np.float32) / 255 * (1 + speckle[..., None])
    if outdoor:
        pixels *= _cast_shadows(rng)[..., None]
    image = Image.fromarray((pixels.clip(0, 1) * 255).astype(np.uint8))
    return Scene(image.filter(ImageFilter.GaussianBlur(0.8)), horizon, HEIGHT - 22.0, far, slope)


def _ground(rng: np.random.Generator, horizon: float, outdoor: bool) -> np.ndarray:
    """Tiles, slabs, asphalt or a striped floor, (HEIGHT, WIDTH, 3)."""
    rows = np.arange(HEIGHT, dtype=np.float32)[:, None] - horizon
    below = np.maximum(rows, 6)
    across = (np.arange(WIDTH, dtype=np.float32)[None] - WIDTH * rng.uniform(0.2, 0.8)) / below
    along = 260 / below
    angle = rng.uniform(-0.8, 0.8)
    across, along = (
        across * cos(angle) - along * sin(angle),
        across * sin(angle) + along * cos(angle),
    )
    base = np.array(
        ((0.62, 0.60, 0.57), (0.52, 0.50, 0.48), (0.66, 0.58, 0.50), (0.45, 0.46, 0.47))[
            int(rng.integers(4))
        ]
        if outdoor
        else ((0.50, 0.50, 0.48), (0.36, 0.37, 0.38), (0.62, 0.60, 0.54), (0.42, 0.36, 0.30))[
            int(rng.integers(4))
        ],
        np.float32,
    )
    size = rng.uniform(2.5, 7)
    tile = ((np.floor(across * size) * 12.9 + np.floor(along * size) * 78.2) * 43.7) % 1
    lines = np.minimum((across * size) % 1, (along * size) % 1) < 0.07
    style = rng.choice(["tiles", "chequer", "asphalt", "bands"])
    level = np.ones((HEIGHT, WIDTH), np.float32)
    if style == "tiles":
        level += (tile - 0.5) * 0.16 - lines * 0.14
    elif style == "chequer":
        level += ((np.floor(across * size) + np.floor(along * size)) % 2 - 0.5) * 0.25
    elif style == "bands":
        level += ((across * size * 0.6) % 1 < 0.25) * rng.uniform(-0.35, 0.3) - lines * 0.05
    level += noise(rng, HEIGHT, WIDTH, 6) * 0.06
    ground = level[..., None] * base
    if rng.random() < 0.45:  # a strip of lawn, or the yellow line of a platform
        start = rng.uniform(-1.5, 1.2)
        strip = (across > start) & (across < start + (0.7 if outdoor else 0.12))
        colour = (0.30, 0.42, 0.18) if outdoor else (0.78, 0.66, 0.20)
        rough = 1 + noise(rng, HEIGHT, WIDTH, 3) * (0.35 if outdoor else 0.05)
        ground = np.where(strip[..., None], rough[..., None] * np.float32(colour), ground)
    return ground


def _rgb(colour: np.ndarray | tuple[float, ...], level: float = 1.0) -> tuple[int, int, int]:
    return tuple(int(min(max(c * level, 0), 1) * 255) for c in colour)


def _backdrop(
    rng: np.random.Generator,
    image: Image.Image,
    pen: ImageDraw.ImageDraw,
    wall: int,
    outdoor: bool,
) -> None:
    """Fill everything above row ``wall`` with a row of facades, hedges or shop windows."""
    x = 0
    while x < WIDTH:
        width = int(rng.uniform(110, 330))
        kind = rng.choice(
            ["wall", "glass", "hedge", "trees"]
            if outdoor
            else ["wall", "glass", "poster", "dark"],
            p=[0.3, 0.2, 0.25, 0.25] if outdoor else [0.35, 0.25, 0.2, 0.2],
        )
        tone = (
            rng.uniform(0.35, 0.75) * (np.ones(3) + rng.normal(0, 0.07, 3))
            if outdoor
            else rng.uniform(0.2, 0.62) * (np.ones(3) + rng.normal(0, 0.08, 3))
        )
        right = x + width
        if kind in ("hedge", "trees"):
            green = np.array((0.20, 0.34, 0.14)) * rng.uniform(0.7, 1.3)
            pen.rectangle((x, 0, right, wall), fill=_rgb(green, 0.8))
            leaves = rng.uniform((x, 0, 1.0, 0.45), (right, wall, 4.0, 1.5), (width * 4, 4))
            for cx, cy, r, level in leaves:
                pen.ellipse((cx - r, cy - r * 0.7, cx + r, cy + r * 0.7), fill=_rgb(green, level))
            if kind == "trees":
                for trunk in rng.uniform(x, right, 2):
                    pen.rectangle(
                        (trunk, 0, trunk + rng.uniform(6, 13), wall),
                        fill=_rgb((0.30, 0.24, 0.18), rng.uniform(0.6, 1.1)),
                    )
        else:
            level = 0.35 if kind == "dark" else 1.0
            pen.rectangle((x, 0, right, wall), fill=_rgb(tone, level))
            step = rng.uniform(24, 70)
            if kind == "wall":
                for y in np.arange(0, wall, rng.uniform(7, 30)):
                    pen.line((x, y, right, y), fill=_rgb(tone, 0.86), width=1)
            for at in np.arange(x, right - 10, step):
                if kind == "glass":
                    pane = _rgb((0.16, 0.20, 0.24), rng.uniform(0.5, 2.4))
                    pen.rectangle((at + 3, 0, min(at + step - 3, right), wall - 6), fill=pane)
                elif kind == "poster" and rng.random() < 0.6:
                    height = rng.uniform(0.4, 0.8) * wall
                    paper = rng.uniform(0.2, 0.7) * (1 + rng.normal(0, 0.3, 3))
                    pen.rectangle(
                        (at + 4, wall * 0.9 - height, min(at + step - 4, right), wall * 0.9),
                        fill=_rgb(paper),
                    )
                else:
                    pen.line((at, 0, at, wall), fill=_rgb(tone, 0.8 * level), width=2)
        pen.line((x, wall, right, wall), fill=(40, 40, 40), width=2)
        x = right


def _objects(
    rng: np.random.Generator,
    pen: ImageDraw.ImageDraw,
    horizon: float,
    wall: float,
    slope: float,
    outdoor: bool,
) -> None:
    """Static things that stand on the ground, far ones first."""
    kinds = (
        ["bicycle"] * 3 + ["bush"] * 2 + ["post", "bench", "car"]
        if outdoor
        else ["barrier"] * 2 + ["column", "bin", "bench", "post"]
    )
    rows = np.sort(
        rng.uniform(
            max(wall, horizon + 60), max(wall, horizon + 60) + 110, int(rng.integers(8, 18))
        )
    )
    for row in rows:
        tall = slope * (row - horizon)  # pixels of an average adult there
        draw_object(rng, pen, str(rng.choice(kinds)), float(rng.uniform(0, WIDTH)), row, tall)


def draw_object(
    rng: np.random.Generator, pen: ImageDraw.ImageDraw, kind: str, x: float, y: float, tall: float
) -> None:
    """Draw one object with its foot at (x, y); ``tall`` is an adult's height in pixels there."""
    tone = rng.uniform(0.1, 0.55) * (1 + rng.normal(0, 0.22, 3))
    if kind == "bicycle":
        r, line = 0.20 * tall, max(1, int(tall * 0.022))
        for cx in (x - 0.3 * tall, x + 0.3 * tall):
            pen.ellipse((cx - r, y - 2 * r, cx + r, y), outline=(30, 30, 32), width=line)
            for spoke in np.arange(0, pi, pi / 4):
                pen.line(
                    (
                        cx - r * cos(spoke),
                        y - r - r * sin(spoke),
                        cx + r * cos(spoke),
                        y - r + r * sin(spoke),
                    ),
                    fill=(95, 95, 95),
                    width=1,
                )
        frame = [
            (x - 0.3 * tall, y - r),
            (x - 0.1 * tall, y - 0.5 * tall),
            (x + 0.22 * tall, y - 0.5 * tall),
            (x, y - r),
            (x - 0.3 * tall, y - r),
        ]
        pen.line(frame, fill=_rgb(tone), width=line + 1)
        pen.line(
            [
                (x + 0.3 * tall, y - r),
                (x + 0.2 * tall, y - 0.6 * tall),
                (x + 0.1 * tall, y - 0.6 * tall),
            ],
            fill=_rgb(tone),
            width=line,
        )
    elif kind in ("post", "column"):
        half = tall * (0.035 if kind == "post" else 0.17)
        for k in range(4):  # brighter towards the left, so that it reads as round
            pen.rectangle(
                (x - half + k * half / 2, y - 2.4 * tall, x + half, y),
                fill=_rgb(tone, 1.25 - 0.2 * k),
            )
    elif kind == "bush":
        green = np.array((0.22, 0.38, 0.15)) * rng.uniform(0.7, 1.3)
        for _ in range(500):
            cx, cy = x + rng.normal(0, 0.2) * tall, y - abs(rng.normal(0, 0.22)) * tall
            r = rng.uniform(0.01, 0.035) * tall
            pen.ellipse((cx - r, cy - r, cx + r, cy + r), fill=_rgb(green, rng.uniform(0.5, 1.5)))
    elif kind == "bench":
        for up in (0.25, 0.38, 0.48):
            pen.rectangle(
                (x - 0.45 * tall, y - up * tall, x + 0.45 * tall, y - (up - 0.06) * tall),
                fill=_rgb(tone, 0.6 + up),
            )
        for leg in (-0.38, 0.36):
            pen.rectangle(
                (x + leg * tall, y - 0.3 * tall, x + (leg + 0.04) * tall, y), fill=(40, 40, 40)
            )
    elif kind == "bin":
        pen.rectangle((x - 0.14 * tall, y - 0.55 * tall, x + 0.14 * tall, y), fill=_rgb(tone, 0.8))
        pen.rectangle(
            (x - 0.15 * tall, y - 0.55 * tall, x + 0.15 * tall, y - 0.46 * tall),
            fill=_rgb(tone, 1.2),
        )
    elif kind == "barrier":
        for at in (-0.6, 0.0, 0.6):
            pen.rectangle(
                (x + at * tall - 2, y - 0.58 * tall, x + at * tall + 2, y), fill=(110, 110, 115)
            )
        pen.rectangle(
            (x - 0.6 * tall, y - 0.56 * tall, x + 0.6 * tall, y - 0.5 * tall), fill=_rgb(tone)
        )
    elif kind == "car":
        pen.rounded_rectangle(
            (x - 1.1 * tall, y - 0.5 * tall, x + 1.1 * tall, y - 0.1 * tall),
            0.12 * tall,
            fill=_rgb(tone, 1.1),
        )
        pen.rounded_rectangle(
            (x - 0.6 * tall, y - 0.82 * tall, x + 0.6 * tall, y - 0.4 * tall),
            0.15 * tall,
            fill=(45, 52, 60),
        )
        for cx in (x - 0.7 * tall, x + 0.7 * tall):
            r = 0.17 * tall
            pen.ellipse((cx - r, y - 2 * r, cx + r, y), fill=(25, 25, 25))


def _cast_shadows(rng: np.random.Generator) -> np.ndarray:
    """Large soft shadows of trees and houses over an outdoor scene, factors (HEIGHT, WIDTH)."""
    shade = noise(rng, HEIGHT, WIDTH, 130) > rng.uniform(0.15, 0.6)
    image = Image.fromarray((shade * 255).astype(np.uint8))
    soft = np.asarray(image.filter(ImageFilter.GaussianBlur(7)), np.float32) / 255
    return 1 - soft * np.float32(rng.uniform(0.15, 0.4))
