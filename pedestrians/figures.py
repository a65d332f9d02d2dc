"""Pictures that show how the generator works, for the notebook on data."""

import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from pedestrians.body import Pose, build
from pedestrians.config import SyntheticConfig
from pedestrians.dataset import Shot, people, pid_of, render
from pedestrians.draw import Light, draw
from pedestrians.person import Person, sample_person
from pedestrians.scene import noise


def render_person(
    person: Person,
    *,
    yaw: float,
    phase: float = 0.7,
    pitch: float = 0.12,
    height: int = 256,
    background: float = 0.92,
) -> np.ndarray:
    """One person on a plain ground, without a camera's faults.

    Args:
        person: who.
        yaw: 0 faces the camera, pi shows the back; radians.
        phase: of the walking cycle, 0..2 pi.
        pitch: elevation of the camera, radians.
        height: of the image in pixels; it is half as wide.
        background: grey level behind the person, 0..1.

    Returns:
        (height, height // 2, 3) uint8.
    """
    parts, top = build(person, Pose(phase=phase))
    rng = np.random.default_rng(0)
    folds = (noise(rng, 128, 128, 8) * 0.16)[:64, :64]
    layer = draw(
        parts,
        yaw=yaw,
        pitch=pitch,
        scale=0.9 * height / top,
        foot=(height / 4, 0.95 * height),
        size=(height, height // 2),
        light=Light((-0.45, 0.72, 0.53), 0.45),
        folds=folds,
    )
    pixels = layer[..., :3] + (1 - layer[..., 3:]) * background
    return (pixels.clip(0, 1) * 255).astype(np.uint8)


def turntable(
    seed: int = 0, views: int = 8, domain: str = "a", height: int = 256, **changes: object
) -> list[np.ndarray]:
    """One person seen from ``views`` sides, from the front all the way round.

    Args:
        seed: of the person.
        views: number of equally spaced angles.
        domain: whose clothes.
        height: of each image in pixels.
        **changes: fields of the Person to set, such as ``bag="backpack"``.

    Returns:
        ``views`` images (height, height // 2, 3) uint8.
    """
    person = replace(sample_person(np.random.default_rng([seed, 41]), domain), **changes)
    return [render_person(person, yaw=2 * np.pi * k / views, height=height) for k in range(views)]


def decoded(config: SyntheticConfig, shot: Shot) -> np.ndarray:
    """One image of a data set, (128, 64, 3) uint8, drawn without writing the set."""
    return np.asarray(Image.open(io.BytesIO(render(config, shot))))


def same_person_all_cameras(
    config: SyntheticConfig,
    person: int = 0,
    split: str = "test",
) -> list[tuple[int, np.ndarray]]:
    """One identity in every camera of the network, as (camid, image (128, 64, 3) uint8)."""
    return [
        (camid, decoded(config, Shot("", split, person, camid, 0, "good")))
        for camid in range(1, config.cameras + 1)
    ]


def gathered(
    config: SyntheticConfig, persons: int, cameras: Sequence[int], split: str = "test"
) -> np.ndarray:
    """One image of each person from each camera, in turn; a camera that comes again shows another.

    Args:
        config: whose people and cameras; it may have fewer people.
        persons: how many, from the first on.
        cameras: camids, one an image.
        split: whose population.

    Returns:
        (persons · cameras, 128, 64, 3) uint8, person by person.
    """
    config = replace(config, **{f"{split}_ids": persons})
    shots = (
        Shot("", split, person, camid, index, "good")
        for person in range(persons)
        for index, camid in enumerate(cameras)
    )
    return np.stack([decoded(config, shot) for shot in shots])


def lookalikes(config: SyntheticConfig, split: str = "test") -> list[list[int]]:
    """Groups of pids in near-identical colours, largest first."""
    groups: dict[int, list[int]] = {}
    for index, person in enumerate(people(config, split)):
        if person.group:
            groups.setdefault(person.group, []).append(pid_of(config, split, index))
    return sorted((sorted(g) for g in groups.values() if len(g) > 1), key=lambda g: (-len(g), g))
