"""One image: a person in front of a camera's scene, with what stands in the way, as detected."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from pedestrians.body import Pose, build, labelled
from pedestrians.camera import Camera, develop, sample_camera
from pedestrians.draw import Part, draw
from pedestrians.person import Person, population
from pedestrians.scene import WIDTH, Scene, draw_object, make_scene, noise

IMAGE_WIDTH, IMAGE_HEIGHT = 64, 128
_DOMAIN_CODE = {"a": 0, "b": 1, "mixed": 2}
#: Smallest and largest value.
Range = tuple[float, float]
_PASSERS = 16  # bystanders per camera, drawn once


@dataclass(frozen=True)
class Station:
    """A camera with all that it shows: its scene, bystanders and things in the way."""

    camera: Camera
    scene: Scene
    passers: tuple[np.ndarray, ...]  # (128, 64, 4) float32, premultiplied
    things: tuple[np.ndarray, ...]
    folds: np.ndarray  # (64, 64)


@dataclass(frozen=True)
class Box:
    """A detector's box around a person, relative to the person.

    Attributes:
        height: of the person over the height of the box.
        x: of the person's middle, 0..1 across the box.
        foot: of the person's feet, 0..1 down the box.
    """

    height: float
    x: float
    foot: float


@lru_cache(maxsize=32)
def station(domain: str, seed: int, camid: int, spread: float) -> Station:
    """The camera ``camid`` (1..) of a network; the same for the same arguments."""
    rng = np.random.default_rng([seed, _DOMAIN_CODE[domain], camid, 11])
    camera = sample_camera(rng, domain, camid, spread)
    scene = make_scene(rng, domain)
    wide = noise(rng, 128, 128, 8) * 0.16 + noise(rng, 128, 128, 3) * 0.10
    folds = np.ascontiguousarray(wide[:64, :64])
    passers = []
    for person in population(domain, seed, 1000 + camid, _PASSERS, 0.0):
        yaw = camera.yaws[int(rng.integers(2))] + rng.normal(0, 0.6)
        passers.append(
            _draw_person(
                build(person, Pose(phase=float(rng.uniform(0, 6.28)))),
                yaw,
                camera,
                folds,
                Box(0.95, 0.5, 0.98),
                (IMAGE_HEIGHT, IMAGE_WIDTH),
            )
        )
    things = tuple(_thing(rng, domain) for _ in range(6))
    return Station(camera, scene, tuple(passers), things, folds)


def _thing(rng: np.random.Generator, domain: str) -> np.ndarray:
    """A static object that can stand between the camera and a person, (128, 64, 4)."""
    kinds = (
        ["bicycle", "bush", "post", "barrier"]
        if domain == "a"
        else ["column", "barrier", "bin", "post", "bench"]
    )
    image = Image.new("RGBA", (IMAGE_WIDTH * 2, IMAGE_HEIGHT * 2))
    draw_object(
        rng,
        ImageDraw.Draw(image),
        str(rng.choice(kinds)),
        IMAGE_WIDTH,
        IMAGE_HEIGHT * 2 - 4,
        float(rng.uniform(150, 230)),
    )
    small = (
        np.asarray(image.resize((IMAGE_WIDTH, IMAGE_HEIGHT), Image.Resampling.BOX), np.float32)
        / 255
    )
    small = small.copy()
    small[..., :3] *= small[..., 3:]
    return small


def _draw_person(
    body: tuple[list[Part], float],
    yaw: float,
    camera: Camera,
    folds: np.ndarray | None,
    box: Box,
    size: tuple[int, int],
) -> np.ndarray:
    parts, top = body
    scale = box.height * size[0] / (top * np.cos(camera.pitch) + 0.02)
    return draw(
        parts,
        yaw=yaw,
        pitch=camera.pitch,
        scale=scale,
        foot=(box.x * size[1], box.foot * size[0]),
        size=size,
        light=camera.light,
        folds=folds,
    )


def _over(below: np.ndarray, layer: np.ndarray) -> None:
    """Composite a premultiplied layer onto an image, in place."""
    below *= 1 - layer[..., 3:]
    below += layer[..., :3]


def _placed(
    layer: np.ndarray, dx: float, dy: float, zoom: float, size: tuple[int, int]
) -> np.ndarray:
    """The layer enlarged about its foot, moved by shares of its width and height: (h, w, 4)."""
    height, width = layer.shape[:2]
    rows = ((np.arange(size[0]) + 0.5) / size[0] - 1 - dy) / zoom * height + height
    cols = ((np.arange(size[1]) + 0.5) / size[1] - 0.5 - dx) / zoom * width + width / 2
    rows, cols = np.floor(rows).astype(int), np.floor(cols).astype(int)
    moved = layer[rows.clip(0, height - 1)][:, cols.clip(0, width - 1)]
    moved = moved * ((cols >= 0) & (cols < width))[None, :, None]
    return moved * ((rows >= 0) & (rows < height))[:, None, None]


def background(
    place: Station, row: float, x: float, box: Box, size: tuple[int, int]
) -> np.ndarray:
    """The scene behind a person whose feet stand at (x, row), (h, w, 3) in 0..1."""
    scene = place.scene
    tall = scene.slope * (row - scene.horizon) / box.height  # height of the box in the scene
    top = row - tall * box.foot
    left = x - tall / 2 * box.x
    fit = min(max(left, 0), WIDTH - tall / 2)
    crop = (fit, max(top, 0), fit + tall / 2, min(max(top, 0) + tall, scene.image.height))
    image = scene.image.resize(size[::-1], Image.Resampling.BILINEAR, box=crop)
    return np.asarray(image, np.float32) / np.float32(255)


def sample_box(rng: np.random.Generator) -> Box:
    """A detector's box: mostly good, sometimes loose, sometimes without feet or head."""
    height = float(0.93 * np.exp(rng.normal(0, 0.045)))
    x = float(0.5 + rng.normal(0, 0.04))
    foot = float(0.97 + rng.normal(0, 0.02))
    kind = rng.random()
    if kind < 0.07:  # cut off the feet
        foot, height = foot + rng.uniform(0.05, 0.16), height * 1.1
    elif kind < 0.11:  # cut off part of the head
        foot, height = foot - rng.uniform(0.0, 0.03), height * rng.uniform(1.08, 1.16)
    elif kind < 0.19:  # loose
        height, foot = height * rng.uniform(0.72, 0.88), foot - rng.uniform(0.0, 0.12)
    return Box(height, x, float(foot))


def bad_box(rng: np.random.Generator) -> Box:
    """A box that a person would not accept as a detection: a part of the body, or far too wide."""
    if rng.random() < 0.6:
        return Box(
            float(rng.uniform(1.5, 2.6)),
            float(rng.uniform(0.2, 0.8)),
            float(rng.uniform(1.1, 2.0)),
        )
    return Box(
        float(rng.uniform(0.35, 0.55)), float(rng.uniform(0.2, 0.8)), float(rng.uniform(0.6, 0.95))
    )


def _ground_shadow(image: np.ndarray, box: Box, strength: float) -> None:
    height, width = image.shape[:2]
    ys = np.arange(height, dtype=np.float32)[:, None] / height - box.foot
    xs = np.arange(width, dtype=np.float32)[None] / width - box.x
    away = (ys / 0.022) ** 2 + (xs / (0.26 * box.height)) ** 2
    image *= (1 - np.float32(strength) * np.exp(-away))[..., None]


@dataclass(frozen=True)
class View:
    """What one detection shows, before it is drawn.

    Attributes:
        size: (height, width) of the sensor's pixels; everything is enlarged at the end.
        behind: layers (h, w, 4) between the scene and the person.
        front: layers between the person and the camera.
    """

    size: tuple[int, int]
    behind: list[np.ndarray]
    front: list[np.ndarray]


def arrange(place: Station, rng: np.random.Generator, clutter: float) -> View:
    """Choose the sensor's pixels and what stands behind and in front of the person."""
    share = min(max(place.camera.resolution * rng.uniform(0.8, 1.1), 0.35), 1.0)
    size = (round(IMAGE_HEIGHT * share), round(IMAGE_WIDTH * share))
    behind, front = [], []

    def passer(aside: Range, sign: int, down: Range, zoom: Range) -> np.ndarray:
        layer = place.passers[int(rng.integers(len(place.passers)))]
        side = float(rng.choice((-1, 1)))
        dx, dy = side * rng.uniform(*aside), sign * rng.uniform(*down)
        return _placed(layer, dx, dy, rng.uniform(*zoom), size)

    if rng.random() < 0.22 * clutter:  # somebody further back
        behind.append(passer((0.22, 0.56), -1, (0.05, 0.20), (0.65, 0.9)))
    hidden = rng.random()
    if hidden < 0.10 * clutter:  # somebody in front
        front.append(passer((0.34, 0.6), 1, (0.02, 0.2), (1.0, 1.3)))
    elif hidden < 0.18 * clutter:  # something in front
        thing = place.things[int(rng.integers(len(place.things)))]
        front.append(_placed(thing, rng.normal(0, 0.28), rng.uniform(0, 0.4), 1.0, size))
    return View(size, behind, front)


@dataclass(frozen=True)
class Moment:
    """One detection, before chance has put anything in its way.

    Attributes:
        place: the camera and its scene.
        person: who, or None for a false detection of the background.
        pose: the moment of the walk.
        yaw: direction of the body against the camera.
        box: the detector's box.
        spot: (x, row) of the feet in the scene.
        clutter: scales the chance of other people and objects.
    """

    place: Station
    person: Person | None
    pose: Pose
    yaw: float
    box: Box
    spot: tuple[float, float]
    clutter: float = 1.0


def compose(moment: Moment, rng: np.random.Generator) -> bytes:
    """Draw a detection as a JPEG; ``rng`` is the source of occlusion, exposure and noise."""
    place, person, box = moment.place, moment.person, moment.box
    view = arrange(place, rng, moment.clutter)
    image = background(place, moment.spot[1], moment.spot[0], box, view.size)
    for layer in view.behind:
        _over(image, layer)
    if person is not None:
        _ground_shadow(image, box, 0.5 * place.camera.light.direct + 0.2)
        body = build(person, moment.pose)
        _over(image, _draw_person(body, moment.yaw, place.camera, place.folds, box, view.size))
    for layer in view.front:
        _over(image, layer)
    return develop(place.camera, image, (IMAGE_WIDTH, IMAGE_HEIGHT), rng)


def cover(moment: Moment, rng: np.random.Generator) -> np.ndarray:
    """How much of each pixel of :func:`compose` is person, carried object and background.

    Whoever passes by, and what stands in the way, is background. The lens's blur is left out.

    Args:
        moment: the detection.
        rng: in the state in which :func:`compose` gets it.

    Returns:
        (128, 64, 3) float32; the three shares of a pixel sum to 1.
    """
    view = arrange(moment.place, rng, moment.clutter)
    shares = np.zeros((*view.size, 3), np.float32)
    if moment.person is not None:
        body = labelled(moment.person, moment.pose)
        camera = moment.place.camera
        layer = _draw_person(body, moment.yaw, camera, None, moment.box, view.size)
        shares[..., 0] = layer[..., 3] - layer[..., 0]
        shares[..., 1] = layer[..., 0]
    for layer in view.front:
        shares *= 1 - layer[..., 3:]
    shares[..., 2] = 1 - shares.sum(2)
    size = (IMAGE_WIDTH, IMAGE_HEIGHT)
    bands = (Image.fromarray(shares[..., k]) for k in range(3))
    return np.stack([np.asarray(b.resize(size, Image.Resampling.BILINEAR)) for b in bands], 2)
