"""Draws a body of tapered elliptic cylinders: depth buffer, exact surface angles, shading.

Every part is a segment in space with an elliptic cross-section whose half-width varies along it.
Under orthographic projection the visible surface point of each pixel has a closed form, so a
garment is painted in the part's own coordinates (position along it, angle around it) and a print
on the chest turns with the body.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

#: (t, side, front), each (n,) -> colours (n, 3) or one colour (3,), values in 0..1.
#: t runs from 0 (start) to 1 (end) and beyond it on the caps; side is +1 on the person's left,
#: front is +1 on the side that the part's front vector points to.
Paint = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


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

    start: tuple[float, float, float]
    end: tuple[float, float, float]
    front: tuple[float, float, float]
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


def _project(parts: Sequence[Part], view: np.ndarray, scale: float, foot: tuple[float, float],
             light: Light) -> _Projected:
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
    return _Projected(start, axis, length, end[:, 2] - start[:, 2], spread, cos0, sin0,
                      side[:, 2] * cos0 + ratio * front[:, 2] * sin0, np.abs(depth_n), sign,
                      lit, up)


def _rasterise(parts: Sequence[Part], geo: _Projected, scale: float, width: int,
               height: int) -> tuple[np.ndarray, np.ndarray]:
    """Depth-test every part; owner (H*W,) is -1 where there is none, surface (3, H*W) t, u, n."""
    depth = np.full(height * width, -1e9, np.float32)
    owner = np.full(height * width, -1, np.int16)
    surface = np.zeros((3, height * width), np.float32)
    for i, part in enumerate(parts):
        x, y, z = geo.start[i]
        ax, ay = geo.axis[i]
        length = geo.length[i]
        radii = np.array(part.widths) * scale
        reach = radii.max() * max(geo.spread[i], *part.caps) + 1
        left, right = sorted((x, x + ax * length))
        top, bottom = sorted((y, y + ay * length))
        x0, x1 = max(int(left - reach), 0), min(int(right + reach) + 2, width)
        y0, y1 = max(int(top - reach), 0), min(int(bottom + reach) + 2, height)
        if x0 >= x1 or y0 >= y1:
            continue
        px = (np.arange(x0, x1, dtype=np.float32) + np.float32(0.5 - x))[None]
        py = (np.arange(y0, y1, dtype=np.float32) + np.float32(0.5 - y))[:, None]
        t = px * np.float32(ax / length) + py * np.float32(ay / length)
        lateral = px * np.float32(ay) - py * np.float32(ax)
        inside = np.minimum(np.maximum(t, 0), 1)
        if len(radii) == 2:
            radius = np.float32(radii[0]) + inside * np.float32(radii[1] - radii[0])
        else:
            knots = np.arange(0, 33) / 32
            table = np.interp(knots, np.linspace(0, 1, len(radii)), radii).astype(np.float32)
            radius = table[(inside * 32).astype(np.int32)]
        u = lateral / (radius * np.float32(geo.spread[i]))
        cap = np.where(t < 0, *(np.float32(length / max(c, 0.02)) for c in part.caps))
        beyond = (t - inside) * cap / radius
        rest = 1 - u * u - beyond * beyond
        hit = np.flatnonzero(rest > 0)
        if not hit.size:
            continue
        u, t, inside, radius = (v.ravel()[hit] for v in (u, t, inside, radius))
        n = np.sqrt(rest.ravel()[hit])
        here = (np.float32(z) + inside * np.float32(geo.rise[i])
                + radius * (u * np.float32(geo.depth_u[i]) + n * np.float32(geo.depth_n[i])))
        at = (hit // (x1 - x0) + y0) * width + hit % (x1 - x0) + x0
        nearer = here > depth[at]
        at = at[nearer]
        depth[at] = here[nearer]
        owner[at] = i
        surface[0, at] = t[nearer]
        surface[1, at] = u[nearer]
        surface[2, at] = n[nearer]
    return owner, surface


def draw(parts: Sequence[Part], *, yaw: float, pitch: float, scale: float,
         foot: tuple[float, float], size: tuple[int, int], light: Light,
         folds: np.ndarray, supersample: int = 2) -> np.ndarray:
    """Draw a body; returns (H, W, 4) float32, colours premultiplied by the alpha, in 0..1.

    Args:
        parts: the body.
        yaw: 0 faces the camera, pi shows the back; radians.
        pitch: elevation of the camera, radians.
        scale: pixels per unit of body coordinates.
        foot: pixel (x, y) of the body's origin, the ground between the feet.
        size: (height, width) of the image.
        light: direction and share of the direct light.
        folds: (64, 64) float32 smooth noise around 0, the creases of the cloth.
        supersample: samples per pixel and axis.
    """
    height, width = size[0] * supersample, size[1] * supersample
    scale = scale * supersample
    foot = (foot[0] * supersample, foot[1] * supersample)
    geo = _project(parts, view_matrix(yaw, pitch), scale, foot, light)
    owner, surface = _rasterise(parts, geo, scale, width, height)
    visible = np.flatnonzero(owner >= 0)
    order = visible[np.argsort(owner[visible], kind="stable")]
    bounds = np.searchsorted(owner[order], np.arange(len(parts) + 1))
    flat = np.zeros((height * width, 4), np.float32)
    flat[visible, 3] = 1.0
    for i, part in enumerate(parts):
        at = order[bounds[i]:bounds[i + 1]]
        if at.size:
            flat[at, :3] = _shade(part, geo, i, surface[:, at], light, folds)
    fine = flat.reshape(height, width, 4)
    rows = sum(fine[k::supersample] for k in range(1, supersample)) + fine[::supersample]
    total = sum(rows[:, k::supersample] for k in range(1, supersample)) + rows[:, ::supersample]
    return total * np.float32(1 / supersample ** 2)


def _shade(part: Part, geo: _Projected, i: int, surface: np.ndarray, light: Light,
           folds: np.ndarray) -> np.ndarray:
    """Colours (n, 3) of one part's visible points: its paint times the light on it."""
    t, u, n = surface
    c0, s0, sign = (np.float32(v[i]) for v in (geo.cos0, geo.sin0, geo.sign))
    side = c0 * u - sign * s0 * n
    front = s0 * u + sign * c0 * n
    along = np.sqrt(np.maximum(1 - u * u - n * n, 0)) * np.where(t < 0.5, -1, 1)
    norm = np.sqrt(side * side + (front / np.float32(part.ratio)) ** 2 + along * along) + 1e-6
    lit = geo.lit[i].astype(np.float32)
    up = geo.up[i].astype(np.float32)
    direct = np.maximum((side * lit[0] + front * lit[1] + along * lit[2]) / norm, 0)
    sky = (side * up[0] + front * up[1] + along * up[2]) / norm
    row = (t * 23 + i * 11).astype(np.int32) & 63
    column = ((side * 9 + front * 13) + i * 17).astype(np.int32) & 63
    ambient = (1 - np.float32(light.direct)) * (0.86 + 0.14 * sky)
    shade = (ambient + np.float32(1.35 * light.direct) * direct) * (0.72 + 0.28 * n)
    shade *= 1 + folds[row, column]
    return shade[:, None] * part.paint(t, side, front)
