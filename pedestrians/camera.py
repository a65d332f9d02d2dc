"""How a camera sees: angles, light, colour, resolution, blur, noise, JPEG quality."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from pedestrians.draw import Light


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
        blur: standard deviation of the lens blur, pixels of the sensor.
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


def sample_camera(rng: np.random.Generator, domain: str, index: int, spread: float) -> Camera:
    """Draw a camera.

    Args:
        rng: source of every choice.
        domain: "a" outdoors in the sun, "b" indoors, "mixed" either.
        index: spreads the viewing directions of a network's cameras.
        spread: scales how far the colours of cameras differ.
    """
    kind = domain if domain != "mixed" else ("a" if rng.random() < 0.65 else "b")
    sunny = kind == "a"
    towards = np.array((rng.uniform(-1, 1), rng.uniform(0.6, 1.2), rng.uniform(-0.2, 1.0)))
    towards /= np.linalg.norm(towards)
    warmth = 0.02 * sunny + spread * rng.normal(0, 0.10 if sunny else 0.13)
    tint = 0.03 * (not sunny) + spread * rng.normal(0, 0.035 if sunny else 0.05)
    warmth, tint = np.clip(warmth, -0.2, 0.2), np.clip(tint, -0.08, 0.08)  # still a camera
    cast = np.array((1 + warmth, 1 + tint, 1 - warmth))
    saturation = (1.0 if sunny else 0.72) + spread * rng.uniform(-0.25, 0.25)
    grey = np.full((3, 3), 1 / 3)
    gains = (np.eye(3) * saturation + grey * (1 - saturation)) * cast[None]
    main = 2.399963 * index + rng.normal(0, 0.3)  # golden angle
    return Camera(
        pitch=float(rng.uniform(0.05, 0.25) if sunny else rng.uniform(0.15, 0.42)),
        yaws=(float(main), float(main + np.pi)),
        light=Light(
            tuple(float(v) for v in towards),
            float(rng.uniform(0.3, 0.6) if sunny else rng.uniform(0.12, 0.35)),
        ),
        gains=gains.astype(np.float32),
        gamma=float(np.exp(spread * rng.normal(0, 0.14)) * (0.92 if sunny else 1.05)),
        contrast=float((1.02 if sunny else 0.9) + spread * rng.uniform(-0.14, 0.14)),
        brightness=float((0.05 if sunny else 0.02) + spread * rng.normal(0, 0.05)),
        resolution=float(rng.uniform(0.6, 1.0) if sunny else rng.uniform(0.45, 0.8)),
        blur=float(rng.uniform(0.0, 0.55) if sunny else rng.uniform(0.1, 0.6)),
        noise=float(rng.uniform(0.005, 0.02) if sunny else rng.uniform(0.01, 0.03)),
        quality=int(rng.integers(75, 93) if sunny else rng.integers(60, 85)),
    )


def develop(
    camera: Camera, scene: np.ndarray, size: tuple[int, int], rng: np.random.Generator
) -> bytes:
    """What the camera makes of the light that falls on it: a JPEG.

    Args:
        camera: the camera.
        scene: (h, w, 3) float32 in 0..1 at the resolution of the sensor.
        size: (width, height) of the image, pixels.
        rng: source of exposure jitter and noise.
    """
    exposure = rng.normal(1.0, 0.07)
    pixels = scene @ (camera.gains * np.float32(exposure))
    pixels += np.float32(camera.brightness)
    np.clip(pixels, 0, 1, out=pixels)
    pixels **= np.float32(camera.gamma)
    pixels = (pixels - 0.5) * np.float32(camera.contrast) + np.float32(0.5)
    image = Image.fromarray((pixels.clip(0, 1) * 255).astype(np.uint8))
    blur = camera.blur * rng.uniform(0.7, 1.4)
    if blur > 0.3:
        image = image.filter(ImageFilter.GaussianBlur(blur))
    grain = rng.standard_normal(pixels.shape, np.float32) * np.float32(255 * camera.noise)
    grain += np.asarray(image)
    image = Image.fromarray(grain.clip(0, 255).astype(np.uint8))
    if image.size != size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=camera.quality)
    return buffer.getvalue()
