"""The formulas of the 20 kinds of corruption, and what each severity sets.

Those of ``imagecorruptions`` 1.1.2 and of the rain of albumentations 0.5.2, random numbers drawn
in the same order, without the slow loops; see `reidlab.data.corruptions` for what differs.
"""

import io
import math
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy import ndimage

Level = float | tuple[float, ...]


def _gaussian(x: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur within each channel, edges repeated."""
    return ndimage.gaussian_filter(x, (sigma, sigma, 0)[: x.ndim], mode="nearest")


def _zoomed(x: np.ndarray, factor: float) -> np.ndarray:
    """The middle of an image, enlarged bilinearly to its size or a little more."""
    for axis in (0, 1):
        size = math.ceil(x.shape[axis] / factor)
        first = (x.shape[axis] - size) // 2
        grown = round(size * factor)
        place = np.arange(grown) * ((size - 1) / max(1, grown - 1))
        low = np.minimum(place.astype(int), max(0, size - 2))
        share = (place - low).astype(x.dtype).reshape(-1, *[1] * (x.ndim - 1 - axis))
        lower = np.take(x, first + low, axis)
        x = lower + (np.take(x, first + np.minimum(low + 1, size - 1), axis) - lower) * share
    return x


def _moved(x: np.ndarray, radius: int, sigma: float, angle: float) -> np.ndarray:
    """Motion blur: the sum of shifted copies with half a Gaussian's weights, edges repeated."""
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    direction = np.deg2rad(angle)
    dy, dx = (
        -np.ceil(steps * part - 0.5).astype(int) for part in (np.sin(direction), np.cos(direction))
    )
    height, width = x.shape[:2]
    # The original ends where the motion leaves the image.
    outside = (abs(dy) >= height) | (abs(dx) >= width)
    count = int(outside.argmax()) if outside.any() else len(steps)
    top, left = abs(dy[:count]).max(), abs(dx[:count]).max()
    padded = np.pad(x, [(top, top), (left, left), (0, 0)][: x.ndim], mode="edge")
    blurred = np.zeros(x.shape)
    for weight, down, right in zip(weights, dy[:count], dx[:count]):
        rows = slice(top - down, top - down + height)
        blurred += weight * padded[rows, left - right : left - right + width]
    return blurred


def _plasma(size: int, decay: float, rng: np.random.Generator) -> np.ndarray:
    """(size, size) heights in 0..1 by the diamond-square algorithm; size is a power of two."""
    heights = np.zeros((size, size))
    wibble, step = 100.0, size

    def wibbled(total: np.ndarray) -> np.ndarray:
        return total / 4 + wibble * rng.uniform(-wibble, wibble, total.shape)

    while step >= 2:
        half = step // 2
        corners, centres = heights[::step, ::step], heights[half::step, half::step]
        total = corners + np.roll(corners, -1, 0)
        centres[:] = wibbled(total + np.roll(total, -1, 1))
        beside = centres + np.roll(centres, 1, 0) + (corners + np.roll(corners, -1, 1))
        heights[::step, half::step] = wibbled(beside)
        beside = centres + np.roll(centres, 1, 1) + (corners + np.roll(corners, -1, 0))
        heights[half::step, ::step] = wibbled(beside)
        step, wibble = half, wibble / decay
    heights -= heights.min()
    return heights / heights.max()


@lru_cache(maxsize=16)
def _frost_texture(number: int, scale: float) -> np.ndarray:
    """(H, W, 3) uint8 RGB: a picture of frost, enlarged."""
    texture = Image.open(Path(__file__).parent / "frost" / FROST[number]).convert("RGB")
    size = [math.ceil(side * scale) for side in texture.size]
    return cv2.resize(np.asarray(texture), size, interpolation=cv2.INTER_CUBIC)


#: Five of the six pictures of imagecorruptions (Apache-2.0), which never draws its sixth. Its
#: second and third are the same.
FROST = ("frost1.webp", "frost2.webp", "frost2.webp", "frost4.jpg", "frost5.jpg")


# --- The kinds: (H, W, 3) uint8, what the severity sets, randomness -> values from 0 to 255 ----


def _gaussian_noise(image: np.ndarray, scale: float, rng: np.random.Generator) -> np.ndarray:
    return (image / 255 + rng.normal(scale=scale, size=image.shape)) * 255


def _shot_noise(image: np.ndarray, photons: float, rng: np.random.Generator) -> np.ndarray:
    return rng.poisson(image / 255 * photons) / photons * 255


def _impulse_noise(image: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    hit, salt = rng.random(image.shape) <= amount, rng.random(image.shape) <= 0.5
    return np.where(hit, np.where(salt, np.uint8(255), np.uint8(0)), image)


def _speckle_noise(image: np.ndarray, scale: float, rng: np.random.Generator) -> np.ndarray:
    x = image / 255
    return (x + x * rng.normal(scale=scale, size=x.shape)) * 255


def _gaussian_blur(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    return _gaussian(image / 255, sigma) * 255


def _glass_blur(image: np.ndarray, level: Level, rng: np.random.Generator) -> np.ndarray:
    """Blur, then every pixel takes a neighbour's colour, one after the other, and blur again.

    The original means to swap the two, but its swap of views copies. A pixel gets what its
    neighbour holds at that moment, and that may itself come from another: a forest of pointers,
    in which everyone's root is found by doubling them.
    """
    sigma, reach, times = level
    x = (_gaussian(image / 255, sigma) * 255).astype(np.uint8)
    height, width = x.shape[:2]
    pixels = np.arange(height * width).reshape(height, width)
    rows = np.arange(height - reach, reach, -1)
    columns = np.arange(width - reach, reach, -1)
    taker = pixels[rows[:, None], columns].ravel()  # in the order of the loop
    turn = np.full(pixels.size, -1)
    turn[taker] = np.arange(len(taker))
    for _ in range(times):
        right, down = rng.integers(-reach, reach, size=(len(taker), 2)).T
        giver = taker + down * width + right
        # Those that had their turn are nodes; what they held before is the same number + size.
        source = np.arange(pixels.size) + pixels.size
        has_new = (turn[giver] >= 0) & (turn[giver] < turn[taker])
        source[taker] = np.where(has_new, giver, giver + pixels.size)
        while (open_ := source < pixels.size).any():
            source[open_] = source[source[open_]]
        x = x.reshape(-1, 3)[source - pixels.size].reshape(x.shape)
    return _gaussian(x / 255, sigma) * 255


def _defocus_blur(image: np.ndarray, level: Level, rng: np.random.Generator) -> np.ndarray:
    return cv2.filter2D(image / 255, -1, _disk(*level)) * 255


@cache
def _disk(radius: int, alias_blur: float) -> np.ndarray:
    span = np.arange(-max(8, radius), max(8, radius) + 1)
    disk = (span[:, None] ** 2 + span**2 <= radius**2).astype(np.float32)
    size = (3, 3) if radius <= 8 else (5, 5)
    return cv2.GaussianBlur(disk / disk.sum(), ksize=size, sigmaX=alias_blur)


def _motion_blur(image: np.ndarray, level: Level, rng: np.random.Generator) -> np.ndarray:
    return _moved(image, *level, rng.uniform(-45, 45))


def _zoom_blur(image: np.ndarray, level: Level, rng: np.random.Generator) -> np.ndarray:
    x = (image / 255).astype(np.float32)
    factors = np.arange(*level)
    total = x.copy()
    for factor in factors:
        total += _zoomed(x, factor)[: x.shape[0], : x.shape[1]]
    return total / (len(factors) + 1) * 255


def _snow(image: np.ndarray, level: Level, rng: np.random.Generator) -> np.ndarray:
    loc, scale, zoom, threshold, radius, sigma, keep = level
    height, width = image.shape[:2]
    flakes = _zoomed(rng.normal(size=(height, width), loc=loc, scale=scale), zoom)
    flakes[flakes < threshold] = 0
    flakes = _moved(np.clip(flakes, 0, 1), radius, sigma, rng.uniform(-135, -45))
    flakes = (np.round(flakes * 255).astype(np.uint8) / 255)[:height, :width, None]
    x = image.astype(np.float32) / 255
    grey = cv2.cvtColor(x, cv2.COLOR_RGB2GRAY)[..., None]
    x = keep * x + (1 - keep) * np.maximum(x, grey * 1.5 + 0.5)
    return (x + flakes + np.rot90(flakes, k=2)) * 255


def _frost(image: np.ndarray, level: Level, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    number = int(rng.integers(5))
    texture = _frost_texture(number, 1.0)
    scale = max(1.0, height / texture.shape[0], width / texture.shape[1])
    texture = _frost_texture(number, scale * 1.1)
    top = rng.integers(texture.shape[0] - height)
    left = rng.integers(texture.shape[1] - width)
    return level[0] * image + level[1] * texture[top : top + height, left : left + width]


def _fog(image: np.ndarray, level: Level, rng: np.random.Generator) -> np.ndarray:
    thick, decay = level
    height, width, _ = image.shape
    size = 2 ** (max(height, width) - 1).bit_length()
    x = image / 255
    brightest = x.max()
    x += thick * _plasma(size, decay, rng)[:height, :width, None]
    return np.clip(x * brightest / (brightest + thick), 0, 1) * 255


def _brightness(image: np.ndarray, more: float, rng: np.random.Generator) -> np.ndarray:
    # The value of HSV grows, hue and saturation stay: all channels grow in proportion.
    x = image / 255
    value = x.max(axis=2, keepdims=True)
    brighter = np.clip(value + more, 0, 1)
    return np.where(value > 0, x * (brighter / np.maximum(value, 1 / 255)), brighter) * 255


def _saturate(image: np.ndarray, level: Level, rng: np.random.Generator) -> np.ndarray:
    # With S = delta / V a channel is V (1 - S (V - x) / delta). Grey has hue 0: it turns red.
    times, more = level
    x = image / 255
    value = x.max(axis=2, keepdims=True)
    delta = value - x.min(axis=2, keepdims=True)
    saturation = delta / np.maximum(value, 1 / 255)
    away = np.where(delta > 0, (value - x) / np.maximum(delta, 1e-9), (0.0, 1.0, 1.0))
    return value * (1 - np.clip(saturation * times + more, 0, 1) * away) * 255


def _contrast(image: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    x = image / 255
    mean = x.mean(axis=(0, 1), keepdims=True)
    return ((x - mean) * share + mean) * 255


def _elastic_transform(image: np.ndarray, alpha: float, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    most = height * 0.005

    def field() -> np.ndarray:
        noise = rng.uniform(-most, most, size=(height, width))
        sigma = (height * 0.01, width * 0.01)
        smooth = ndimage.gaussian_filter(noise, sigma, mode="reflect", truncate=3)
        return (smooth * alpha).astype(np.float32)

    right, down = field(), field()
    place = np.arange(height)[:, None] + down, np.arange(width) + right
    x = image.astype(np.float32) / 255
    channels = [
        ndimage.map_coordinates(x[..., channel], place, order=1, mode="reflect")
        for channel in range(3)
    ]
    return np.stack(channels, axis=2) * 255


def _pixelate(image: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize(
        (int(width * share), int(height * share)), Image.Resampling.BOX
    )
    return np.asarray(small.resize((width, height), Image.Resampling.NEAREST))


def _jpeg_compression(image: np.ndarray, quality: int, rng: np.random.Generator) -> np.ndarray:
    coded = io.BytesIO()
    Image.fromarray(image).save(coded, "JPEG", quality=quality)
    return np.asarray(Image.open(coded))


def _spatter(image: np.ndarray, level: Level, rng: np.random.Generator) -> np.ndarray:
    loc, scale, sigma, threshold, strength, is_mud = level
    liquid = _gaussian(rng.normal(size=image.shape[:2], loc=loc, scale=scale), sigma)
    liquid[liquid < threshold] = 0
    x = image.astype(np.float32) / 255
    if is_mud:
        cover = _gaussian((liquid > threshold).astype(np.float32), strength)[..., None]
        cover[cover < 0.8] = 0
        return (x * (1 - cover) + np.array([63, 42, 20]) / 255 * cover) * 255
    liquid = (liquid * 255).astype(np.uint8)
    if not liquid.any():
        return image
    distance = cv2.distanceTransform(255 - cv2.Canny(liquid, 50, 150), cv2.DIST_L2, 5)
    distance = cv2.equalizeHist(cv2.blur(np.minimum(distance, 20), (3, 3)).astype(np.uint8))
    embossed = cv2.filter2D(distance, cv2.CV_8U, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]))
    cover = liquid * cv2.blur(embossed, (3, 3)).astype(np.float32)
    if not cover.any():
        return image
    cover = cover / cover.max() * np.float32(strength)
    return (x + cover[..., None] * np.float32([175, 238, 238]) / np.float32(255)) * 255


def _rain(image: np.ndarray, level: Level, rng: np.random.Generator) -> np.ndarray:
    area_of_a_drop, length, blur, darker = level
    height, width = image.shape[:2]
    # albumentations 0.5.2 draws a slant for where drops begin, and then has them all fall by 10.
    slant = int(rng.uniform(-10, 10))
    image = image.copy()
    for _ in range(height * width // area_of_a_drop):
        x = int(rng.integers(min(slant, 0), width - max(slant, 0), endpoint=True))
        y = int(rng.integers(0, height - length, endpoint=True))
        cv2.line(image, (x, y), (x + 10, y + length), (200, 200, 200), 1)
    image = cv2.blur(image, (blur, blur))
    # A coefficient of 1 on its lightness leaves the rounding of the round trip.
    image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2HLS), cv2.COLOR_HLS2RGB)
    return image.astype(np.float32) - np.float32(darker * 255)


#: Kind -> its function and what each severity sets.
KINDS: dict[str, tuple[Callable[..., np.ndarray], tuple[Level, ...]]] = {
    "gaussian_noise": (_gaussian_noise, (0.08, 0.12, 0.18, 0.26, 0.38)),
    "shot_noise": (_shot_noise, (60, 25, 12, 5, 3)),
    "impulse_noise": (_impulse_noise, (0.03, 0.06, 0.09, 0.17, 0.27)),
    "speckle_noise": (_speckle_noise, (0.15, 0.2, 0.35, 0.45, 0.6)),
    "defocus_blur": (_defocus_blur, ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))),
    "glass_blur": (
        _glass_blur,
        ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    ),
    "motion_blur": (_motion_blur, ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))),
    "zoom_blur": (
        _zoom_blur,
        ((1, 1.11, 0.01), (1, 1.16, 0.01), (1, 1.21, 0.02), (1, 1.26, 0.02), (1, 1.31, 0.03)),
    ),
    "gaussian_blur": (_gaussian_blur, (1, 2, 3, 4, 6)),
    "snow": (
        _snow,
        (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
    ),
    "frost": (_frost, ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))),
    "fog": (_fog, ((1.5, 2), (2.0, 2), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))),
    "brightness": (_brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "spatter": (
        _spatter,
        (
            (0.65, 0.3, 4, 0.69, 0.6, 0),
            (0.65, 0.3, 3, 0.68, 0.6, 0),
            (0.65, 0.3, 2, 0.68, 0.5, 0),
            (0.65, 0.3, 1, 0.65, 1.5, 1),
            (0.67, 0.4, 1, 0.65, 1.5, 1),
        ),
    ),
    "rain": (
        _rain,
        # Area a drop, its length, side of the blur, loss of brightness.
        (
            (770, 10, 3, 0.1),
            (600, 30, 4, 0.15),
            (600, 30, 5, 0.2),
            (500, 60, 6, 0.25),
            (500, 60, 7, 0.3),
        ),
    ),
    "contrast": (_contrast, (0.4, 0.3, 0.2, 0.1, 0.05)),
    "elastic_transform": (_elastic_transform, (12.5, 16.25, 21.25, 25.0, 30.0)),
    "pixelate": (_pixelate, (0.6, 0.5, 0.4, 0.3, 0.25)),
    "jpeg_compression": (_jpeg_compression, (25, 18, 15, 10, 7)),
    "saturate": (_saturate, ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2))),
}
