"""How a camera sees: angles, light, colour, resolution, blur, noise, JPEG quality."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from reidlab.data.synthetic.draw import Light


@dataclass(frozen=True)
class Camera:
    """The fixed properties of one camera.

    Attributes:
        pitch: elevation of the view, radians.
        yaws: the two directions in which people mostly cross its view (0 faces the camera).
        light: on people, in camera coordinates.
        gains: (3, 3) colour matrix: temperature, tint and saturation.
        gamma, contrast, brightness: of the tone curve.
        resolution: share of the 64 x 128 pixels that the sensor resolves.
        blur: standard deviation of the lens blur, pixels.
        noise: standard deviation of the sensor noise, 0..1.
        quality: of the JPEG.
    """

    pitch: float
    yaws: tuple[float, float]
    light: Light
    gains: np.ndarray
    gamma: float
    contrast: float
    brightness: float
    resolution: float
    blur: float
    noise: float
    quality: int


def sample_camera(rng: np.random.Generator, domain: str, index: int) -> Camera:
    """Draw a camera; ``index`` spreads the viewing directions of a network's cameras."""
    kind = domain if domain != "mixed" else ("a" if rng.random() < 0.65 else "b")
    sunny = kind == "a"
    towards = np.array((rng.uniform(-1, 1), rng.uniform(0.6, 1.2), rng.uniform(-0.2, 1.0)))
    towards /= np.linalg.norm(towards)
    warmth = float(rng.normal(0.02 if sunny else 0.0, 0.10 if sunny else 0.13))
    tint = float(rng.normal(0.0 if sunny else 0.03, 0.035 if sunny else 0.05))
    cast = np.array((1 + warmth, 1 + tint, 1 - warmth))
    saturation = float(rng.uniform(0.75, 1.25) if sunny else rng.uniform(0.45, 0.95))
    grey = np.full((3, 3), 1 / 3)
    gains = (np.eye(3) * saturation + grey * (1 - saturation)) * cast[None]
    main = 2.399963 * index + rng.normal(0, 0.3)  # golden angle
    return Camera(
        pitch=float(rng.uniform(0.05, 0.25) if sunny else rng.uniform(0.15, 0.42)),
        yaws=(float(main), float(main + np.pi)),
        light=Light(tuple(float(v) for v in towards),
                    float(rng.uniform(0.3, 0.6) if sunny else rng.uniform(0.12, 0.35))),
        gains=gains.astype(np.float32),
        gamma=float(np.exp(rng.normal(0, 0.14)) * (0.95 if sunny else 1.12)),
        contrast=float(rng.uniform(0.85, 1.15) if sunny else rng.uniform(0.65, 1.0)),
        brightness=float(rng.normal(0.04 if sunny else -0.02, 0.05)),
        resolution=float(rng.uniform(0.55, 1.0) if sunny else rng.uniform(0.40, 0.8)),
        blur=float(rng.uniform(0.2, 0.7) if sunny else rng.uniform(0.3, 0.9)),
        noise=float(rng.uniform(0.005, 0.02) if sunny else rng.uniform(0.012, 0.04)),
        quality=int(rng.integers(75, 93) if sunny else rng.integers(60, 85)),
    )


def develop(camera: Camera, scene: np.ndarray, rng: np.random.Generator) -> bytes:
    """What the camera makes of the light that falls on it: a JPEG.

    Args:
        camera: the camera.
        scene: (H, W, 3) float32 in 0..1; overwritten.
        rng: source of exposure jitter and noise.
    """
    height, width = scene.shape[:2]
    exposure = rng.normal(1.0, 0.07)
    pixels = scene @ (camera.gains * np.float32(exposure))
    pixels += np.float32(camera.brightness)
    np.clip(pixels, 0, 1, out=pixels)
    pixels **= np.float32(camera.gamma)
    pixels = (pixels - 0.5) * np.float32(camera.contrast) + np.float32(0.5)
    size = max(camera.resolution * rng.uniform(0.8, 1.1), 0.3)
    image = Image.fromarray((pixels.clip(0, 1) * 255).astype(np.uint8))
    blur = camera.blur * rng.uniform(0.7, 1.4)
    if blur > 0.3:
        image = image.filter(ImageFilter.GaussianBlur(blur))
    if size < 0.97:
        small = (max(int(width * size), 8), max(int(height * size), 16))
        image = image.resize(small, Image.Resampling.BILINEAR)
    grain = np.asarray(image, np.float32)
    grain = grain + rng.standard_normal(grain.shape, np.float32) * np.float32(255 * camera.noise)
    image = Image.fromarray(grain.clip(0, 255).astype(np.uint8))
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=camera.quality)
    return buffer.getvalue()
