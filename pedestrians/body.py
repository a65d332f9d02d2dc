"""A person in a pose, as parts to draw: an articulated skeleton with clothes on it.

Lengths are in units of the stature of an average adult: x to the person's left, y up from the
ground, z forward.
"""

from dataclasses import dataclass, replace
from math import cos, pi, sin

from pedestrians import paint
from pedestrians.accessories import bags, head
from pedestrians.draw import Paint, Part, Point
from pedestrians.person import Person

_FORWARD = (0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Pose:
    """One moment of a walk.

    Attributes:
        phase: of the walking cycle, 0..2 pi.
        walk: 1 walks, 0 stands.
        turn: of the head against the body, radians.
        arms: what the (left, right) arm does: swing, phone, pocket, hold.
        lean: of the trunk, forward, radians.
    """

    phase: float = 0.7
    walk: float = 1.0
    turn: float = 0.0
    arms: tuple[str, str] = ("swing", "swing")
    lean: float = 0.03


def _step(at: Point, length: float, swing: float, out: float = 0.0) -> Point:
    """The end of a limb that hangs from ``at``: ``swing`` forward and ``out`` sideways."""
    return (
        at[0] + length * sin(out),
        at[1] - length * cos(out) * cos(swing),
        at[2] + length * cos(out) * sin(swing),
    )


def build(person: Person, pose: Pose) -> tuple[list[Part], float]:
    """The parts of a dressed body and the height of the top of its head."""
    legs, lift = _legs(person, pose)
    hip = lift
    torso = 0.325 * (1 + 0.4 * (1 - person.legs))
    neck = (0.0, hip + torso * cos(pose.lean), torso * sin(pose.lean))
    parts = legs
    parts += _trunk(person, neck, hip)
    arms, hands = _arms(person, pose, neck)
    parts += arms
    parts += head(person, pose.turn, neck)
    parts += bags(person, neck, hip, hands)
    return parts, neck[1] + 0.17 * person.head


def labelled(person: Person, pose: Pose) -> tuple[list[Part], float]:
    """The parts of :func:`build` painted by what they are: 1 what is carried, 0 the person.

    Straps are paint on a garment, so the person is dressed in black with white luggage.
    """
    black, white = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    cloth = {
        f: replace(getattr(person, f), colour=black, second=black) for f in ("upper", "lower")
    }
    worn = dict.fromkeys(("skin", "hair_colour", "hat_colour", "inner", "shoes", "socks"), black)
    scarf = person.scarf and black
    parts, top = build(replace(person, bag_colour=white, scarf=scarf, **cloth, **worn), pose)

    def label(part: Part) -> Part:
        return part._replace(paint=lambda *at: part.paint(*at) > 0)

    return [label(part) for part in parts], top


def _legs(person: Person, pose: Pose) -> tuple[list[Part], float]:
    """Legs and what covers them; the second value is the height of the hip joints."""
    long = 0.485 * person.legs
    skirted = person.top == "dress" or person.bottom in ("skirt", "longskirt")
    stride = (0.26 if skirted else 0.38) * person.stride * pose.walk
    chains = []
    for side, phase in ((1, pose.phase), (-1, pose.phase + pi)):
        swing = stride * sin(phase) + 0.04
        bend = 0.06 + 0.95 * pose.walk * max(0.0, cos(phase)) ** 1.4
        hip = (side * 0.046 * person.hips * person.build**0.5, 0.0, 0.0)
        knee = _step(hip, long * 0.51, swing, side * 0.015)
        ankle = _step(knee, long * 0.49, swing - bend, 0.0)
        chains.append((hip, knee, ankle, swing - bend))
    lift = 0.035 - min(c[2][1] for c in chains)
    parts: list[Part] = []
    for hip, knee, ankle, swing in chains:
        points = [(p[0], p[1] + lift, p[2]) for p in (hip, knee, ankle)]
        parts += _leg(person, *points, swing)
    build = person.build**0.7
    if skirted:
        hem = 0.24 if person.bottom == "longskirt" else 0.33 + 0.02 * person.lower.period % 0.08
        cloth = person.upper if person.top == "dress" else person.lower
        top = lift + 0.10
        flare = 0.106 + 0.005 * (person.lower.period - 3)
        parts.append(
            Part(
                (0, top, 0),
                (0, hem, 0),
                _FORWARD,
                (
                    0.084 * build,
                    0.107 * build * person.hips,
                    flare * build,
                    (flare + 0.012) * build,
                ),
                0.88,
                (0.2, 0.12),
                paint.fabric(cloth, (top - hem) / 0.33),
            )
        )
    if person.top == "coat":
        top, hem = lift + 0.14, 0.27 + 0.008 * person.upper.period
        outside: Paint = paint.fabric(person.upper, 1.0, sleeve=True)
        if person.open_front:
            outside = paint.open_front(outside, tuple(0.6 * c for c in person.lower.colour), 0.3)
        parts.append(
            Part(
                (0, top, 0),
                (0, hem, 0.0),
                _FORWARD,
                (0.106 * build, 0.118 * build * person.hips, 0.124 * build),
                0.85,
                (0.3, 0.12),
                outside,
            )
        )
    return parts, lift


def _leg(person: Person, hip: Point, knee: Point, ankle: Point, swing: float) -> list[Part]:
    wide = person.build**0.7
    skin, cloth = paint.plain(person.skin), paint.fabric(person.lower, 0.75, sleeve=True)
    thigh = [0.061 * wide * person.hips, 0.051 * wide, 0.041 * wide]
    shin = [0.040 * wide, 0.038 * wide, 0.026 * wide]
    upper, lower = cloth, cloth
    bare = person.top == "dress" or person.bottom in ("skirt", "longskirt")
    if bare:
        stocking = person.socks if person.scarf else person.skin
        upper = lower = paint.plain(stocking)
    elif person.bottom == "shorts":
        border = 0.55 + 0.04 * person.lower.period
        thigh = [w * 1.15 for w in thigh[:2]] + [thigh[2] * (1.35 if border > 0.8 else 1.0)]
        upper, lower = paint.upto(cloth, skin, border), skin
    elif person.bottom == "leggings":
        thigh, shin = [w * 0.92 for w in thigh], [w * 0.92 for w in shin]
    else:
        loose = 1.5 if person.bottom == "wide" else 1.18
        thigh = [thigh[0] * 1.03, thigh[1] * 1.08, thigh[2] * loose]
        shin = [shin[0] * loose, shin[1] * loose, shin[2] * loose * 1.12]
    if lower is skin or bare:
        lower = paint.upto(lower, paint.plain(person.socks), 0.86)
    toe = (
        ankle[0] * 1.1,
        ankle[1] - 0.022 + 0.08 * sin(min(swing, 0.2)),
        ankle[2] + 0.085 * cos(swing),
    )
    heel = (ankle[0], ankle[1] - 0.012, ankle[2] - 0.012)
    return [
        Part(hip, knee, _FORWARD, tuple(thigh), 1.05, (0.9, 0.9), upper),
        Part(knee, ankle, _FORWARD, tuple(shin), 1.05, (1.0, 0.6), lower),
        Part(
            heel,
            toe,
            (0, 1, 0.2),
            (0.026, 0.027, 0.021),
            0.95,
            (1.0, 1.0),
            paint.plain(person.shoes),
        ),
    ]


def _trunk(person: Person, neck: Point, hip: float) -> list[Part]:
    wide, shoulders = person.build**0.8, person.shoulders
    belly = max(person.build - 1.1, 0) * 0.6
    jacket = person.top in ("jacket", "coat")
    loose = 1.12 if jacket else (1.0 if person.tucked or person.top == "dress" else 1.05)
    across = shoulders * wide**0.5
    widths = [
        0.064 * shoulders,
        0.118 * across,
        0.121 * across,
        0.113 * wide,
        0.104 * wide,
        (0.094 + 0.03 * belly) * wide,
        (0.096 + 0.02 * belly) * wide,
        0.103 * wide * person.hips,
        0.094 * wide * person.hips,
    ]
    widths = widths[:1] + [w * loose for w in widths[1:]]
    # The hem of a top that is worn over the trousers lies below the waist.
    hem = 0.70 if person.tucked else 0.90
    cloth: Paint = paint.fabric(person.upper)
    if jacket and person.open_front:
        cloth = paint.open_front(cloth, person.inner, 0.22 + 0.02 * person.upper.period)
    elif jacket or person.top == "shirt":
        cloth = paint.zipped(cloth, 0.6)
    elif not person.scarf:
        cloth = paint.neckline(cloth, person.skin, 0.10 if person.top != "tank" else 0.2)
    if person.bag == "backpack":
        cloth = paint.straps(cloth, tuple(0.8 * c for c in person.bag_colour))
    elif person.bag == "crossbody":
        cloth = paint.crossbody(cloth, tuple(0.8 * c for c in person.bag_colour), person.bag_side)
    if person.top not in ("dress", "coat"):
        cloth = paint.upto(cloth, paint.fabric(person.lower, sleeve=True), hem)
    top = (0.0, neck[1], neck[2] - 0.005)
    ratio = 0.60 + 0.25 * belly + (0.05 if jacket else 0)
    parts = [Part(top, (0, hip - 0.015, 0), _FORWARD, tuple(widths), ratio, (0.5, 0.5), cloth)]
    collar = person.scarf or (person.upper.colour if jacket else person.skin)
    size = 0.05 if person.scarf else (0.04 if jacket else 0.032)
    parts.append(
        Part(
            (0, neck[1] + 0.035, neck[2] + 0.01),
            (0, neck[1] - 0.02, neck[2]),
            _FORWARD,
            (0.031 if not person.scarf else 0.045, size),
            1.0,
            (0.3, 0.6),
            paint.plain(collar),
        )
    )
    return parts


def _arms(person: Person, pose: Pose, neck: Point) -> tuple[list[Part], dict[int, Point]]:
    wide = person.build**0.6
    parts: list[Part] = []
    hands: dict[int, Point] = {}
    skin = paint.plain(person.skin)
    cloth = paint.fabric(person.upper, 0.55, sleeve=True)
    sleeve = {"tshirt": 0.6, "dress": 0.45, "tank": 0.0}.get(person.top, 2.0)
    if person.top == "shirt" and person.upper.period < 6:
        sleeve = 0.7
    thick = 1.0 if sleeve < 1 else (1.35 if person.top in ("jacket", "coat") else 1.12)
    for side, doing in ((1, pose.arms[0]), (-1, pose.arms[1])):
        swing = -side * 0.42 * person.arm_swing * pose.walk * sin(pose.phase) + 0.02
        bend, out = 0.28 + max(swing, 0) * 0.6, 0.10
        if doing == "phone":
            swing, bend, out = 0.45, 1.75, 0.12
        elif doing == "pocket":
            swing, bend, out = -0.25, 0.75, 0.24
        elif doing == "hold":
            swing, bend, out = 0.05, 0.08, 0.12
        shoulder = (
            side * 0.107 * person.shoulders * person.build**0.4,
            neck[1] - 0.053,
            neck[2] - 0.005,
        )
        elbow = _step(shoulder, 0.165, swing, side * out)
        wrist = _step(elbow, 0.145, swing + bend, side * (0.02 if bend < 1 else -0.3))
        hand = _step(wrist, 0.05, swing + bend, 0)
        hands[side] = hand
        across = (0.0, sin(swing), cos(swing))
        upper, fore = cloth, cloth
        if sleeve < 1:
            upper, fore = paint.upto(cloth, skin, sleeve), skin
        flare = 1.25 if 0 < sleeve < 1 else 1.0
        fore = paint.upto(fore, skin, 0.72)  # the hand
        girth = wide * thick
        parts += [
            Part(
                shoulder,
                elbow,
                across,
                (0.033 * wide * thick**0.3, 0.036 * girth, 0.034 * girth * flare, 0.029 * girth),
                1.0,
                (0.8, 0.9),
                upper,
            ),
            Part(
                elbow,
                hand,
                across,
                (0.028 * girth, 0.025 * girth, 0.022 * girth, 0.021, 0.017),
                1.0,
                (1.0, 1.0),
                fore,
            ),
        ]
    return parts, hands
