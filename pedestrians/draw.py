"""Draws a body of tapered elliptic cylinders: depth buffer, exact surface angles, shading.

Every part is a segment in space with an elliptic cross-section whose half-width varies along it.
Under orthographic projection the visible surface point of each pixel has a closed form, so a
garment is painted in the part's own coordinates (position along it, angle around it) and a print
on the chest turns with the body.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

#: (t, side, front), each (n,) -> colours (n, 3) or one colour (3,), values in 0..1.
#: t runs from 0 (start) to 1 (end) and beyond it on the caps; side is +1 on the person's left,
#: front is +1 on the side that the part's front vector points to.
Paint = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


#: x to the person's left, y up, z forward.
Point = tuple[float, float, float]


class Part(NamedTuple):
    """One piece of a body, in body coordinates (x to the person's left, y up, z forward).

    Attributes:
        start: (3,) one end of its axis; limbs run downwards.
        end: (3,) the other end.
        front: (3,) direction that counts as the part's front.
        widths: half-widths at equally spaced positions from start to end.
        ratio: half-depth (along front) over half-width.
        caps: how far each end is rounded, in half-widths.
        paint: its colours.
    """

    start: Point
    end: Point
    front: Point
    widths: tuple[float, ...]
    ratio: float
    caps: tuple[float, float]
    paint: Paint


class Light(NamedTuple):
    """Light in camera coordinates: unit direction towards it, and its share of the shading."""

    direction: tuple[float, float, float]
    direct: float


class _Projected(NamedTuple):
    """All parts in the image: pixels, and the constants of each part's surface formula."""

    start: np.ndarray  # (P, 3) x right, y down, z towards the viewer; pixels
    axis: np.ndarray  # (P, 2) unit direction of the axis in the image
    length: np.ndarray  # (P,) of the axis in the image, pixels
    rise: np.ndarray  # (P,) z of the end minus z of the start
    spread: np.ndarray  # (P,) half-width in the image over the half-width in space
    cos0: np.ndarray  # (P,) angle around the part at the silhouette (u = 1)
    sin0: np.ndarray
    depth_u: np.ndarray  # (P,) depth of the surface = depth_u * u + depth_n * n
    depth_n: np.ndarray
    sign: np.ndarray  # (P,) which of the two surface points faces the viewer
    lit: np.ndarray  # (P, 3) light along (side, front, axis)
    up: np.ndarray  # (P, 3) the same for the vertical


def view_matrix(yaw: float, pitch: float) -> np.ndarray:
    """Body to camera coordinates: (3, 3).

    Args:
        yaw: 0 faces the camera, pi shows the back; radians.
        pitch: elevation of the camera above the horizontal, radians.
    """
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    tilt = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    return tilt @ turn


def _project(
    parts: Sequence[Part], view: np.ndarray, scale: float, foot: tuple[float, float], light: Light
) -> _Projected:
    ends = np.array([(p.start, p.end, p.front) for p in parts]) @ view.T  # (P, 3, 3)
    axis3 = ends[:, 1] - ends[:, 0]
    axis3 /= np.linalg.norm(axis3, axis=1, keepdims=True) + 1e-9
    front = ends[:, 2] - (ends[:, 2] * axis3).sum(1, keepdims=True) * axis3
    front /= np.linalg.norm(front, axis=1, keepdims=True) + 1e-9
    side = np.cross(front, axis3)
    flip = np.array([1.0, -1.0, 1.0])  # image rows run downwards
    start = ends[:, 0] * flip * scale + np.array([foot[0], foot[1], 0.0])
    end = ends[:, 1] * flip * scale + np.array([foot[0], foot[1], 0.0])
    flat = (end - start)[:, :2]
    length = np.maximum(np.hypot(flat[:, 0], flat[:, 1]), 0.5)
    axis = flat / length[:, None]
    axis[np.hypot(axis[:, 0], axis[:, 1]) < 0.5] = (0.0, 1.0)
    across = np.stack([axis[:, 1], -axis[:, 0]], 1)  # to the right of a part that hangs down
    ratio = np.array([p.ratio for p in parts])
    side_e = (side[:, :2] * flip[:2] * across).sum(1)
    front_e = (front[:, :2] * flip[:2] * across).sum(1) * ratio
    spread = np.maximum(np.hypot(side_e, front_e), 1e-3)
    cos0, sin0 = side_e / spread, front_e / spread
    depth_n = -side[:, 2] * sin0 + ratio * front[:, 2] * cos0
    sign = np.where(depth_n >= 0, 1.0, -1.0)
    towards = np.array(light.direction)
    lit = np.stack([side @ towards, front @ towards / ratio, axis3 @ towards], 1)
    up = np.stack([side[:, 1], front[:, 1] / ratio, axis3[:, 1]], 1)
    return _Projected(
        start,
        axis,
        length,
        end[:, 2] - start[:, 2],
        spread,
        cos0,
        sin0,
        side[:, 2] * cos0 + ratio * front[:, 2] * sin0,
        np.abs(depth_n),
        sign,
        lit,
        up,
    )


def _boxes(
    parts: Sequence[Part], geo: _Projected, scale: float, width: int, height: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels in the bounding box of each part, all in one row: part, column and row, (N,)."""
    widest = np.array([max(p.widths) for p in parts]) * scale
    reach = widest * np.maximum(geo.spread, [max(p.caps) for p in parts]) + 1
    one = geo.start[:, :2]
    two = one + geo.axis * geo.length[:, None]
    limit = np.array([width, height])
    low = np.clip((np.minimum(one, two) - reach[:, None]).astype(np.int64), 0, limit)
    high = np.clip((np.maximum(one, two) + reach[:, None]).astype(np.int64) + 2, 0, limit)
    across, down = (high - low).T
    count = across * down
    owner = np.repeat(np.arange(len(parts)), count)
    index = (np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)).astype(np.float32)
    across_of = across.astype(np.float32)[owner]
    row = np.floor((index + np.float32(0.5)) / across_of)
    column = index - row * across_of
    low = low.astype(np.float32)
    return owner, column + low[owner, 0], row + low[owner, 1]


def _rasterise(
    parts: Sequence[Part], geo: _Projected, scale: float, width: int, height: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth-test all parts; for the visible pixels, by part: index, part (V,), t u n (3, V).

    The parts are small, so they go through numpy together: one call for all of them.
    """
    owner, x, y = _boxes(parts, geo, scale, width, height)
    knots = np.arange(33) / 32
    radii = np.stack(
        [np.interp(knots, np.linspace(0, 1, len(p.widths)), p.widths) for p in parts]
    ).astype(np.float32) * np.float32(scale)
    along = geo.axis / geo.length[:, None]
    across = np.stack([geo.axis[:, 1], -geo.axis[:, 0]], 1) / geo.spread[:, None]
    middle = geo.start[:, :2] - 0.5  # pixel centres lie at +0.5
    lines = np.concatenate(
        [
            along,
            -(along * middle).sum(1, keepdims=True),
            across,
            -(across * middle).sum(1, keepdims=True),
        ],
        1,
    )
    lines = np.ascontiguousarray(lines.T, np.float32)
    caps = (geo.length[:, None] / np.maximum([p.caps for p in parts], 0.02)).astype(np.float32)

    t = x * lines[0][owner] + y * lines[1][owner] + lines[2][owner]
    u = x * lines[3][owner] + y * lines[4][owner] + lines[5][owner]
    inside = np.minimum(np.maximum(t, 0), 1)
    radius = radii.ravel()[owner * 33 + (inside * 32).astype(np.int64)]
    u /= radius
    beyond = (t - inside) * caps.ravel()[owner * 2 + (t > 0)] / radius
    rest = 1 - u * u - beyond * beyond
    hit = np.flatnonzero(rest > 0)
    owner, t, u, inside, radius = (v[hit] for v in (owner, t, u, inside, radius))
    n = np.sqrt(rest[hit])
    pixel = (y[hit] * np.float32(width) + x[hit]).astype(np.int64)
    z, rise, by_u, by_n = (
        v.astype(np.float32)[owner] for v in (geo.start[:, 2], geo.rise, geo.depth_u, geo.depth_n)
    )
    depth = z + inside * rise + radius * (u * by_u + n * by_n)

    nearest = np.full(height * width, -1e9, np.float32)
    winner = np.full(height * width, -1, np.int64)
    bounds = np.searchsorted(owner, np.arange(len(parts) + 1))
    for first, last in pairwise(bounds):
        at = pixel[first:last]
        nearer = np.flatnonzero(depth[first:last] > nearest[at])
        at, nearer = at[nearer], nearer + first
        nearest[at] = depth[nearer]
        winner[at] = nearer
    kept = np.sort(winner[winner >= 0])
    return pixel[kept], owner[kept], np.stack([t[kept], u[kept], n[kept]])


def draw(
    parts: Sequence[Part],
    *,
    yaw: float,
    pitch: float,
    scale: float,
    foot: tuple[float, float],
    size: tuple[int, int],
    light: Light,
    folds: np.ndarray | None,
    supersample: int = 2,
) -> np.ndarray:
    """Draw a body; returns (H, W, 4) float32, colours premultiplied by the alpha, in 0..1.

    Args:
        parts: the body.
        yaw: 0 faces the camera, pi shows the back; radians.
        pitch: elevation of the camera, radians.
        scale: pixels per unit of body coordinates.
        foot: pixel (x, y) of the body's origin, the ground between the feet.
        size: (height, width) of the image.
        light: direction and share of the direct light.
        folds: (64, 64) float32 smooth noise around 0, the creases of the cloth; None leaves out
            all shading, so that colours come out as they are painted.
        supersample: samples per pixel and axis.
    """
    height, width = size[0] * supersample, size[1] * supersample
    scale = scale * supersample
    foot = (foot[0] * supersample, foot[1] * supersample)
    geo = _project(parts, view_matrix(yaw, pitch), scale, foot, light)
    pixel, owner, surface = _rasterise(parts, geo, scale, width, height)
    creases = np.zeros((64, 64), np.float32) if folds is None else folds
    t, side, front, shade = _shade(parts, geo, owner, surface, light, creases)
    bounds = np.searchsorted(owner, np.arange(len(parts) + 1))
    colours = np.empty((len(pixel), 4), np.float32)
    colours[:, 3] = 1
    for part, (first, last) in zip(parts, pairwise(bounds)):
        if last > first:
            seen = slice(first, last)
            colours[seen, :3] = part.paint(t[seen], side[seen], front[seen])
    if folds is not None:
        colours[:, :3] *= shade[:, None]
    flat = np.zeros((height * width, 4), np.float32)
    flat[pixel] = colours
    fine = flat.reshape(height, width, 4)
    rows = sum(fine[k::supersample] for k in range(1, supersample)) + fine[::supersample]
    total = sum(rows[:, k::supersample] for k in range(1, supersample)) + rows[:, ::supersample]
    return total * np.float32(1 / supersample**2)


def _shade(
    parts: Sequence[Part],
    geo: _Projected,
    owner: np.ndarray,
    surface: np.ndarray,
    light: Light,
    folds: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """Where on its part each visible point lies (t, side, front), and the light on it; (V,)."""
    t, u, n = surface
    c0, s0, sign = (v.astype(np.float32)[owner] for v in (geo.cos0, geo.sin0, geo.sign))
    turned = sign * n
    side = c0 * u - s0 * turned
    front = s0 * u + c0 * turned
    along = np.sqrt(np.maximum(1 - u * u - n * n, 0)) * np.sign(t - np.float32(0.5))
    flat = front / np.array([p.ratio for p in parts], np.float32)[owner]
    norm = 1 / (np.sqrt(side * side + flat * flat + along * along) + np.float32(1e-6))
    lit = np.ascontiguousarray(geo.lit.T, np.float32)
    up = np.ascontiguousarray(geo.up.T, np.float32)
    direct = side * lit[0][owner] + front * lit[1][owner] + along * lit[2][owner]
    sky = side * up[0][owner] + front * up[1][owner] + along * up[2][owner]
    row = (t * 23 + owner * 11).astype(np.int64) & 63
    column = (side * 9 + front * 13 + owner * 17).astype(np.int64) & 63
    ambient = np.float32(1.12 * (1 - light.direct)) * (0.84 + 0.16 * sky * norm)
    shade = ambient + np.float32(1.6 * light.direct) * np.maximum(direct * norm, 0)
    shade *= (0.70 + 0.30 * n) * (1 + folds[row, column])
    return t, side, front, shade.astype(np.float32)
