"""Who a synthetic pedestrian is: body, hair, garments and what is carried."""

from dataclasses import dataclass, replace

import numpy as np

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Fabric:
    """Colours and pattern of a garment.

    Attributes:
        colour: main colour, RGB in 0..1.
        second: colour of the pattern.
        pattern: plain, stripes, pinstripes, checks, blocks, dots, chest, back or both (prints).
        period: repeats of the pattern along the garment.
        motif: (5, 5) bits of a print, as one integer.
    """

    colour: Colour
    second: Colour
    pattern: str
    period: float
    motif: int


@dataclass(frozen=True)
class Person:
    """Everything that stays the same from one camera to the next.

    Lengths are relative to an average adult (1.0); colours are RGB in 0..1.
    """

    height: float
    build: float
    shoulders: float
    hips: float
    legs: float
    head: float
    skin: Colour
    hair: str  # bald short bob long ponytail bun curly
    hair_colour: Colour
    hat: str  # none cap beanie sunhat hood
    hat_colour: Colour
    top: str  # tshirt tank longsleeve shirt jacket coat dress
    open_front: bool
    tucked: bool
    upper: Fabric
    inner: Colour
    bottom: str  # trousers wide shorts skirt longskirt leggings
    lower: Fabric
    shoes: Colour
    socks: Colour
    scarf: Colour | None
    bag: str  # none backpack handbag crossbody tote suitcase
    bag_colour: Colour
    bag_side: int  # +1 the person's left, -1 the right
    bag_size: float
    stride: float
    arm_swing: float
    group: int  # look-alike group, 0 when there is none


_SKIN = (
    (0.95, 0.78, 0.66),
    (0.90, 0.72, 0.58),
    (0.84, 0.65, 0.50),
    (0.72, 0.53, 0.39),
    (0.55, 0.38, 0.27),
    (0.38, 0.26, 0.19),
)
_HAIR = (
    (0.07, 0.06, 0.06),
    (0.11, 0.08, 0.07),
    (0.20, 0.13, 0.09),
    (0.34, 0.22, 0.13),
    (0.55, 0.40, 0.22),
    (0.45, 0.44, 0.43),
    (0.40, 0.17, 0.10),
)
_BRIGHT = (
    (0.93, 0.93, 0.91),
    (0.93, 0.93, 0.91),
    (0.10, 0.10, 0.11),
    (0.10, 0.10, 0.11),
    (0.55, 0.56, 0.57),
    (0.30, 0.31, 0.33),
    (0.78, 0.12, 0.12),
    (0.13, 0.22, 0.52),
    (0.35, 0.57, 0.80),
    (0.92, 0.80, 0.20),
    (0.15, 0.50, 0.25),
    (0.92, 0.45, 0.15),
    (0.90, 0.52, 0.62),
    (0.45, 0.20, 0.50),
    (0.84, 0.77, 0.62),
    (0.10, 0.55, 0.55),
    (0.65, 0.82, 0.62),
    (0.09, 0.12, 0.25),
)
_LIGHT_LOWER = (
    (0.09, 0.09, 0.10),
    (0.10, 0.12, 0.22),
    (0.22, 0.30, 0.45),
    (0.40, 0.50, 0.62),
    (0.68, 0.60, 0.46),
    (0.45, 0.45, 0.46),
    (0.88, 0.87, 0.84),
    (0.38, 0.36, 0.26),
    (0.26, 0.27, 0.29),
    (0.55, 0.30, 0.28),
)
_DARK = (
    (0.07, 0.07, 0.08),
    (0.07, 0.07, 0.08),
    (0.14, 0.14, 0.16),
    (0.24, 0.25, 0.27),
    (0.09, 0.11, 0.20),
    (0.13, 0.18, 0.30),
    (0.33, 0.24, 0.17),
    (0.62, 0.48, 0.31),
    (0.17, 0.22, 0.16),
    (0.36, 0.10, 0.13),
    (0.50, 0.50, 0.51),
    (0.75, 0.70, 0.62),
    (0.62, 0.13, 0.12),
    (0.14, 0.30, 0.33),
    (0.80, 0.80, 0.79),
)
_DARK_LOWER = (
    (0.07, 0.07, 0.08),
    (0.09, 0.10, 0.15),
    (0.13, 0.18, 0.29),
    (0.20, 0.26, 0.38),
    (0.20, 0.20, 0.21),
    (0.33, 0.27, 0.20),
    (0.42, 0.42, 0.42),
    (0.26, 0.28, 0.22),
)
_SHOES = (
    (0.08, 0.08, 0.08),
    (0.90, 0.90, 0.88),
    (0.40, 0.28, 0.18),
    (0.55, 0.55, 0.56),
    (0.70, 0.15, 0.15),
    (0.15, 0.25, 0.50),
    (0.15, 0.15, 0.18),
)
_BAGS = (
    (0.07, 0.07, 0.08),
    (0.09, 0.09, 0.10),
    (0.14, 0.18, 0.30),
    (0.45, 0.30, 0.18),
    (0.65, 0.12, 0.14),
    (0.20, 0.42, 0.65),
    (0.75, 0.68, 0.55),
    (0.20, 0.35, 0.22),
    (0.85, 0.55, 0.15),
    (0.60, 0.35, 0.50),
)

#: Distributions of summer ("a") and winter ("b") clothes: value -> weight.
_STYLE = {
    "a": dict(
        top={"tshirt": 9, "tank": 2, "shirt": 3, "longsleeve": 2, "jacket": 1, "dress": 3},
        bottom={"trousers": 5, "shorts": 6, "skirt": 3, "longskirt": 1, "leggings": 1, "wide": 1},
        hat={"none": 14, "cap": 2, "sunhat": 1},
        bag={"none": 8, "backpack": 6, "handbag": 3, "crossbody": 3, "tote": 3},
        pattern={
            "plain": 8,
            "stripes": 3,
            "checks": 2,
            "chest": 4,
            "back": 2,
            "both": 2,
            "blocks": 2,
            "dots": 1,
            "pinstripes": 1,
        },
        upper=_BRIGHT,
        lower=_LIGHT_LOWER,
        scarf=0.0,
        socks=0.3,
    ),
    "b": dict(
        top={"coat": 6, "jacket": 8, "longsleeve": 5, "shirt": 1, "dress": 0.5},
        bottom={"trousers": 9, "leggings": 4, "wide": 2, "skirt": 2, "longskirt": 1},
        hat={"none": 10, "beanie": 4, "hood": 3, "cap": 1},
        bag={"none": 7, "backpack": 5, "handbag": 4, "crossbody": 2, "suitcase": 5, "tote": 2},
        pattern={
            "plain": 13,
            "stripes": 2,
            "checks": 2,
            "chest": 1,
            "back": 2,
            "blocks": 4,
            "pinstripes": 1,
        },
        upper=_DARK,
        lower=_DARK_LOWER,
        scarf=0.35,
        socks=0.9,
    ),
}


def _pick(rng: np.random.Generator, weights: dict[str, float]) -> str:
    values = np.array(list(weights.values()), float)
    return list(weights)[int(rng.choice(len(values), p=values / values.sum()))]


def _tint(rng: np.random.Generator, palette: tuple[Colour, ...], spread: float = 0.035) -> Colour:
    base = np.array(palette[int(rng.integers(len(palette)))])
    colour = base * rng.normal(1, 0.08) + rng.normal(0, spread, 3)
    return tuple(float(c) for c in colour.clip(0.03, 0.97))


def _fabric(
    rng: np.random.Generator, palette: tuple[Colour, ...], patterns: dict[str, float]
) -> Fabric:
    colour = _tint(rng, palette)
    for _ in range(4):  # a pattern needs a colour that can be told from the first
        second = _tint(rng, (*palette, (0.92, 0.92, 0.90), (0.08, 0.08, 0.08)))
        if np.abs(np.subtract(colour, second)).sum() > 0.5:
            break
    return Fabric(
        colour,
        second,
        _pick(rng, patterns),
        float(rng.uniform(3.5, 9)),
        int(rng.integers(1, 1 << 15)),
    )


def _lower_patterns(bottom: str) -> dict[str, float]:
    if bottom in ("skirt", "longskirt", "shorts"):
        return {"plain": 7, "checks": 2, "stripes": 1, "dots": 1}
    return {"plain": 12, "pinstripes": 1, "seam": 2}


def sample_person(rng: np.random.Generator, domain: str) -> Person:
    """Draw one person.

    Args:
        rng: source of every choice.
        domain: "a" summer, "b" winter, "mixed" either.
    """
    style = _STYLE[domain if domain in _STYLE else ("a" if rng.random() < 0.6 else "b")]
    feminine = rng.random() < 0.5
    top = _pick(rng, style["top"])
    while top == "dress" and not feminine:
        top = _pick(rng, style["top"])
    bottom = _pick(rng, style["bottom"])
    while bottom in ("skirt", "longskirt", "leggings") and not feminine:
        bottom = _pick(rng, style["bottom"])
    hair = _pick(
        rng,
        {"short": 1, "bob": 3, "long": 4, "ponytail": 3, "bun": 1.5}
        if feminine
        else {"short": 9, "bald": 1, "curly": 1.5, "ponytail": 0.4},
    )
    return Person(
        height=float(rng.normal(0.97 if feminine else 1.03, 0.04)),
        build=float(np.clip(rng.lognormal(-0.05 if feminine else 0.02, 0.13), 0.8, 1.5)),
        shoulders=float(rng.normal(0.92 if feminine else 1.04, 0.05)),
        hips=float(rng.normal(1.06 if feminine else 0.97, 0.05)),
        legs=float(rng.normal(1.0, 0.035)),
        head=float(rng.normal(1.0, 0.05)),
        skin=_tint(rng, _SKIN, 0.02),
        hair=hair,
        hair_colour=_tint(rng, _HAIR, 0.015),
        hat=_pick(rng, style["hat"]),
        hat_colour=_tint(rng, style["upper"]),
        top=top,
        open_front=bool(rng.random() < 0.5),
        tucked=bool(rng.random() < 0.3),
        upper=_fabric(rng, style["upper"], style["pattern"]),
        inner=_tint(rng, _BRIGHT),
        bottom=bottom,
        lower=_fabric(rng, style["lower"], _lower_patterns(bottom)),
        shoes=_tint(rng, _SHOES),
        socks=_tint(rng, ((0.9, 0.9, 0.9), (0.1, 0.1, 0.1))),
        scarf=_tint(rng, _BRIGHT) if rng.random() < style["scarf"] else None,
        bag=_pick(rng, style["bag"]),
        bag_colour=_tint(rng, _BAGS),
        bag_side=1 if rng.random() < 0.5 else -1,
        bag_size=float(rng.uniform(0.85, 1.2)),
        stride=float(rng.uniform(0.75, 1.15)),
        arm_swing=float(rng.uniform(0.5, 1.2)),
        group=0,
    )


def lookalike(rng: np.random.Generator, person: Person, domain: str) -> Person:
    """Another person in nearly the same colours: what differs are two or more of the details.

    Garment types and their main colours stay; hair, print, bag, shoes, hat and body may not.
    """
    other = sample_person(rng, domain)
    new = replace(
        person,
        height=other.height,
        build=other.build,
        legs=other.legs,
        head=other.head,
        stride=other.stride,
        arm_swing=other.arm_swing,
        bag_side=other.bag_side,
        upper=_nearly(rng, person.upper),
        lower=_nearly(rng, person.lower),
    )
    details = {
        "hair": dict(hair=other.hair, hair_colour=other.hair_colour),
        "print": dict(
            upper=replace(
                new.upper,
                second=other.upper.second,
                pattern=other.upper.pattern,
                period=other.upper.period,
                motif=other.upper.motif,
            )
        ),
        "bag": dict(bag=other.bag, bag_colour=other.bag_colour, bag_size=other.bag_size),
        "shoes": dict(shoes=other.shoes, socks=other.socks),
        "hat": dict(hat=other.hat, hat_colour=other.hat_colour, scarf=other.scarf),
        "cut": dict(open_front=other.open_front, inner=other.inner, tucked=other.tucked),
    }
    names = list(details)
    for k in rng.permutation(len(names))[: int(rng.integers(2, 5))]:
        new = replace(new, **details[names[k]])
    return new


def _nearly(rng: np.random.Generator, fabric: Fabric) -> Fabric:
    colour = np.array(fabric.colour) * rng.normal(1, 0.04) + rng.normal(0, 0.012, 3)
    return replace(fabric, colour=tuple(float(c) for c in colour.clip(0.03, 0.97)))


def population(domain: str, seed: int, stream: int, count: int, lookalikes: float) -> list[Person]:
    """``count`` persons, some of them in look-alike groups of 2 to 5.

    Args:
        domain: which clothes.
        seed: of the data set.
        stream: keeps the persons of training, test and background apart.
        count: number of persons.
        lookalikes: share of the persons who belong to a group.
    """
    rng = np.random.default_rng([seed, {"a": 0, "b": 1, "mixed": 2}[domain], stream, 77])
    people: list[Person] = []
    group = 0
    while len(people) < count:
        first = sample_person(rng, domain)
        # A group counts its members, so its chance is the share over the mean size of a group.
        if rng.random() < lookalikes / (3.5 - 2.5 * lookalikes):
            group += 1
            people.append(replace(first, group=group))
            people += [
                replace(lookalike(rng, first, domain), group=group)
                for _ in range(int(rng.integers(1, 5)))
            ]
        else:
            people.append(first)
    people = people[:count]
    return [people[i] for i in rng.permutation(count)]
