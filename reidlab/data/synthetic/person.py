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


_SKIN = ((.95, .78, .66), (.90, .72, .58), (.84, .65, .50), (.72, .53, .39), (.55, .38, .27),
         (.38, .26, .19))
_HAIR = ((.07, .06, .06), (.11, .08, .07), (.20, .13, .09), (.34, .22, .13), (.55, .40, .22),
         (.45, .44, .43), (.40, .17, .10))
_BRIGHT = ((.93, .93, .91), (.93, .93, .91), (.10, .10, .11), (.10, .10, .11), (.55, .56, .57),
           (.30, .31, .33), (.78, .12, .12), (.13, .22, .52), (.35, .57, .80), (.92, .80, .20),
           (.15, .50, .25), (.92, .45, .15), (.90, .52, .62), (.45, .20, .50), (.84, .77, .62),
           (.10, .55, .55), (.65, .82, .62), (.09, .12, .25))
_LIGHT_LOWER = ((.09, .09, .10), (.10, .12, .22), (.22, .30, .45), (.40, .50, .62),
                (.68, .60, .46), (.45, .45, .46), (.88, .87, .84), (.38, .36, .26),
                (.26, .27, .29), (.55, .30, .28))
_DARK = ((.07, .07, .08), (.07, .07, .08), (.14, .14, .16), (.24, .25, .27), (.09, .11, .20),
         (.13, .18, .30), (.33, .24, .17), (.62, .48, .31), (.17, .22, .16), (.36, .10, .13),
         (.50, .50, .51), (.75, .70, .62), (.62, .13, .12), (.14, .30, .33), (.80, .80, .79))
_DARK_LOWER = ((.07, .07, .08), (.09, .10, .15), (.13, .18, .29), (.20, .26, .38),
               (.20, .20, .21), (.33, .27, .20), (.42, .42, .42), (.26, .28, .22))
_SHOES = ((.08, .08, .08), (.90, .90, .88), (.40, .28, .18), (.55, .55, .56), (.70, .15, .15),
          (.15, .25, .50), (.15, .15, .18))
_BAGS = ((.07, .07, .08), (.09, .09, .10), (.14, .18, .30), (.45, .30, .18), (.65, .12, .14),
         (.20, .42, .65), (.75, .68, .55), (.20, .35, .22), (.85, .55, .15), (.60, .35, .50))

#: Distributions of summer ("a") and winter ("b") clothes: value -> weight.
_STYLE = {
    "a": dict(
        top={"tshirt": 9, "tank": 2, "shirt": 3, "longsleeve": 2, "jacket": 1, "dress": 3},
        bottom={"trousers": 5, "shorts": 6, "skirt": 3, "longskirt": 1, "leggings": 1, "wide": 1},
        hat={"none": 14, "cap": 2, "sunhat": 1},
        bag={"none": 8, "backpack": 6, "handbag": 3, "crossbody": 3, "tote": 3},
        pattern={"plain": 8, "stripes": 3, "checks": 2, "chest": 4, "back": 2, "both": 2,
                 "blocks": 2, "dots": 1, "pinstripes": 1},
        upper=_BRIGHT, lower=_LIGHT_LOWER, scarf=0.0, socks=0.3,
    ),
    "b": dict(
        top={"coat": 6, "jacket": 8, "longsleeve": 5, "shirt": 1, "dress": 0.5},
        bottom={"trousers": 9, "leggings": 4, "wide": 2, "skirt": 2, "longskirt": 1},
        hat={"none": 10, "beanie": 4, "hood": 3, "cap": 1},
        bag={"none": 7, "backpack": 5, "handbag": 4, "crossbody": 2, "suitcase": 5, "tote": 2},
        pattern={"plain": 13, "stripes": 2, "checks": 2, "chest": 1, "back": 2, "blocks": 4,
                 "pinstripes": 1},
        upper=_DARK, lower=_DARK_LOWER, scarf=0.35, socks=0.9,
    ),
}


def _pick(rng: np.random.Generator, weights: dict[str, float]) -> str:
    values = np.array(list(weights.values()), float)
    return list(weights)[int(rng.choice(len(values), p=values / values.sum()))]


def _tint(rng: np.random.Generator, palette: tuple[Colour, ...], spread: float = 0.035) -> Colour:
    base = np.array(palette[int(rng.integers(len(palette)))])
    colour = base * rng.normal(1, 0.08) + rng.normal(0, spread, 3)
    return tuple(float(c) for c in colour.clip(0.03, 0.97))


def _fabric(rng: np.random.Generator, palette: tuple[Colour, ...],
            patterns: dict[str, float]) -> Fabric:
    colour = _tint(rng, palette)
    for _ in range(4):  # a pattern needs a colour that can be told from the first
        second = _tint(rng, (*palette, (.92, .92, .90), (.08, .08, .08)))
        if np.abs(np.subtract(colour, second)).sum() > 0.5:
            break
    return Fabric(colour, second, _pick(rng, patterns), float(rng.uniform(3.5, 9)),
                  int(rng.integers(1, 1 << 15)))


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
    hair = _pick(rng, {"short": 1, "bob": 3, "long": 4, "ponytail": 3, "bun": 1.5} if feminine
                 else {"short": 9, "bald": 1, "curly": 1.5, "ponytail": .4})
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
        socks=_tint(rng, ((.9, .9, .9), (.1, .1, .1))),
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
        person, height=other.height, build=other.build, legs=other.legs, head=other.head,
        stride=other.stride, arm_swing=other.arm_swing, bag_side=other.bag_side,
        upper=_nearly(rng, person.upper), lower=_nearly(rng, person.lower),
    )
    details = {
        "hair": dict(hair=other.hair, hair_colour=other.hair_colour),
        "print": dict(upper=replace(new.upper, second=other.upper.second,
                                    pattern=other.upper.pattern, period=other.upper.period,
                                    motif=other.upper.motif)),
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
            people += [replace(lookalike(rng, first, domain), group=group)
                       for _ in range(int(rng.integers(1, 5)))]
        else:
            people.append(first)
    people = people[:count]
    return [people[i] for i in rng.permutation(count)]
