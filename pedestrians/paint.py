"""Colours on the surface of a body: fabrics, faces, straps. See draw.Part for the coordinates."""

import numpy as np

from pedestrians.draw import Paint
from pedestrians.person import Colour, Fabric


def plain(colour: Colour) -> Paint:
    """One colour."""
    value = np.array(colour, np.float32)
    return lambda t, side, front: value


def fabric(cloth: Fabric, stretch: float = 1.0, sleeve: bool = False) -> Paint:
    """A garment's pattern, in the part's own coordinates.

    Args:
        cloth: colours and pattern.
        stretch: length of this part over the length of the torso, so that stripes on a sleeve
            are as wide as those on the chest.
        sleeve: leaves out prints; blocks give sleeves of the second colour.
    """
    one, two = np.array(cloth.colour, np.float32), np.array(cloth.second, np.float32)
    count = np.float32(cloth.period * stretch)
    pattern = cloth.pattern
    bits = np.array([(cloth.motif >> k) & 1 for k in range(15)], bool).reshape(5, 3)
    motif = np.concatenate([bits, bits[:, 1::-1]], 1)  # symmetric, so that it reads as a logo

    def paint(t: np.ndarray, side: np.ndarray, front: np.ndarray) -> np.ndarray:
        if pattern == "stripes":
            share = ((t * count) % 1 < 0.45).astype(np.float32)
        elif pattern in ("pinstripes", "checks"):
            around = np.arctan2(front, side) * np.float32(1.1 * cloth.period / 3)
            share = (around % 1 < (0.4 if pattern == "checks" else 0.25)).astype(np.float32)
            if pattern == "checks":
                share = 0.5 * share + 0.5 * ((t * count * 1.3) % 1 < 0.4)
        elif pattern == "dots":
            around = np.arctan2(front, side) * np.float32(cloth.period / 3)
            share = ((t * count) % 1 - 0.5) ** 2 + (around % 1 - 0.5) ** 2 < 0.09
        elif pattern == "seam":
            share = np.abs(side) > 0.9
        elif pattern == "blocks":
            share = np.ones_like(t) if sleeve else t < np.float32(0.05 + cloth.period * 0.05)
        elif pattern in ("chest", "back", "both") and not sleeve:
            share = _motif(motif, t, side, front, pattern, cloth.period)
        else:
            return one
        share = np.asarray(share, np.float32)[:, None]
        return one * (1 - share) + two * share

    return paint


def _motif(
    motif: np.ndarray, t: np.ndarray, side: np.ndarray, front: np.ndarray, where: str, size: float
) -> np.ndarray:
    """A print of 5 x 5 cells on the chest, on the back, or on both."""
    half = np.float32(0.25 + 0.05 * size)
    column = ((side / half + 1) * 2.5).astype(np.int32)
    row = ((t - 0.14) / (0.5 * half) * 5).astype(np.int32)
    facing = {"chest": front > 0, "back": front < 0, "both": front != 0}[where]
    on = facing & (np.abs(side) < half) & (t > 0.14) & (row < 5)
    return on & motif[row.clip(0, 4), column.clip(0, 4)]


def upto(first: Paint, second: Paint, border: float) -> Paint:
    """``first`` before ``border`` along the part, ``second`` behind it."""

    def paint(t: np.ndarray, side: np.ndarray, front: np.ndarray) -> np.ndarray:
        return np.where((t < border)[:, None], first(t, side, front), second(t, side, front))

    return paint


def open_front(jacket: Paint, inner: Colour, gap: float) -> Paint:
    """A jacket that shows the shirt in a strip of half-width ``gap`` at the front only."""
    shirt = np.array(inner, np.float32)

    def paint(t: np.ndarray, side: np.ndarray, front: np.ndarray) -> np.ndarray:
        shows = (front > 0) & (np.abs(side) < gap * (0.6 + 0.6 * t))
        return np.where(shows[:, None], shirt, jacket(t, side, front))

    return paint


def zipped(jacket: Paint, tone: float) -> Paint:
    """A closed jacket or a buttoned shirt: a thin darker line down the front."""

    def paint(t: np.ndarray, side: np.ndarray, front: np.ndarray) -> np.ndarray:
        line = (front > 0) & (np.abs(side) < 0.06)
        return jacket(t, side, front) * np.where(line, np.float32(tone), np.float32(1))[:, None]

    return paint


def straps(cloth: Paint, colour: Colour) -> Paint:
    """The two straps of a backpack, over the shoulders and down the chest to the arm pits."""
    value = np.array(colour, np.float32)

    def paint(t: np.ndarray, side: np.ndarray, front: np.ndarray) -> np.ndarray:
        on = (np.abs(np.abs(side) - 0.55) < 0.1) & (front > 0) & (t < 0.5)
        return np.where(on[:, None], value, cloth(t, side, front))

    return paint


def crossbody(cloth: Paint, colour: Colour, bag_side: int) -> Paint:
    """A strap from the shoulder opposite the bag, diagonally over chest and back."""
    value = np.array(colour, np.float32)

    def paint(t: np.ndarray, side: np.ndarray, front: np.ndarray) -> np.ndarray:
        on = np.abs(side * bag_side - (t * 2.4 - 1.0)) < 0.17
        return np.where(on[:, None], value, cloth(t, side, front))

    return paint


def neckline(cloth: Paint, skin: Colour, depth: float) -> Paint:
    """A collar that is cut out at the front."""
    value = np.array(skin, np.float32)

    def paint(t: np.ndarray, side: np.ndarray, front: np.ndarray) -> np.ndarray:
        bare = (front > 0) & (t < depth - np.abs(side) * depth * 1.8)
        return np.where(bare[:, None], value, cloth(t, side, front))

    return paint


def head(skin: Colour, hair: Colour, style: str, hat: str, hat_colour: Colour) -> Paint:
    """Face, hair and the part of a hat that covers the skull; t runs from the top to the chin."""
    face, locks = np.array(skin, np.float32), np.array(hair, np.float32)
    cover = np.array(hat_colour, np.float32)
    dark = face * 0.45
    lips = face * np.array((0.85, 0.6, 0.6), np.float32)
    long_hair = style in ("bob", "long", "curly")
    hair_line = 0.02 if style != "curly" else 0.1
    nape = {"bald": -9.0, "short": 0.75, "bun": 0.8, "ponytail": 0.8}.get(style, 9.0)
    rim = {"none": -9.0, "cap": 0.1, "beanie": 0.16, "sunhat": 0.05, "hood": 9.0}[hat]

    def paint(t: np.ndarray, side: np.ndarray, front: np.ndarray) -> np.ndarray:
        edge = 0.45 if long_hair else 0.3  # how far the hair comes round the face
        skull = (t < hair_line) if style != "bald" else np.zeros(t.shape, bool)
        haired = skull | ((front < edge - 0.35 * (t - 0.2)) & (t < nape))
        colour = np.where(haired[:, None], locks, face)
        eyes = (front > 0.3) & (np.abs(np.abs(side) - 0.42) < 0.17) & (np.abs(t - 0.4) < 0.1)
        mouth = (front > 0.5) & (np.abs(side) < 0.3) & (np.abs(t - 0.95) < 0.09)
        colour = np.where(eyes[:, None] & ~haired[:, None], dark, colour)
        colour = np.where(mouth[:, None], lips, colour)
        covered = (t < rim) if hat != "hood" else (front < 0.45) | (t < -0.05)
        return np.where(covered[:, None], cover, colour)

    return paint
