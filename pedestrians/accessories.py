"""Head, hair, hats and what a person carries, as parts to draw; units as in body.py."""

from math import cos, sin

from pedestrians import paint
from pedestrians.draw import Part, Point
from pedestrians.person import Person

_FORWARD = (0.0, 0.0, 1.0)


def head(person: Person, turn: float, neck: Point) -> list[Part]:
    """Head, hair and hat.

    Args:
        person: who.
        turn: of the head against the body, radians.
        neck: base of the neck.
    """
    size = person.head
    front = (sin(turn), 0.0, cos(turn))
    y, z = neck[1], neck[2] + 0.012
    top, chin = y + 0.112 * size, y + 0.063 * size
    big = 1.07 if person.hair in ("bob", "long", "curly") else 1.0
    big *= 1.06 if person.hat in ("beanie", "hood") else 1.0
    widths = (0.052 * size * big, 0.048 * size * (big if big > 1 else 0.97))
    face = paint.head(person.skin, person.hair_colour, person.hair, person.hat, person.hat_colour)
    skull = Part((0, top, z), (0, chin, z + 0.004), front, widths, 1.2, (1.15, 1.05), face)
    return [skull, *_hair(person, front, y, z), *_hat(person, front, top, z)]


def _hair(person: Person, front: Point, y: float, z: float) -> list[Part]:
    """Hair that stands off the skull, or the hood that covers it."""
    size = person.head
    top, chin = y + 0.112 * size, y + 0.063 * size
    if person.hat == "hood":
        cloth = paint.plain(person.hat_colour)
        start, end = (0, y + 0.04, z - 0.035), (0, y - 0.03, z - 0.03)
        return [Part(start, end, _FORWARD, (0.06, 0.075), 0.6, (0.7, 0.5), cloth)]
    # how far it lies behind the middle of the head
    depth = {"bob": 0.022, "long": 0.022, "curly": 0.018, "ponytail": 0.062, "bun": 0.045}
    if person.hair not in depth:
        return []
    x, back = -front[0] * depth[person.hair], z - front[2] * depth[person.hair]
    if person.hair in ("bob", "long"):
        start = (x, top, back)
        end = (x * 1.3, y - (0.01 if person.hair == "bob" else 0.12), back - 0.02)
        widths, ratio, caps = (0.050 * size, 0.058, 0.052), 0.75, (0.9, 0.4)
    elif person.hair == "curly":
        start, end = (x, top + 0.012, back), (x, chin + 0.02, back)
        widths, ratio, caps = (0.062, 0.058), 1.0, (1.0, 1.0)
    elif person.hair == "ponytail":
        start, end = (x, top - 0.01, back), (x * 1.2, y - 0.06, back - 0.012)
        widths, ratio, caps = (0.018, 0.024, 0.012), 1.0, (1.0, 0.8)
    else:  # a bun
        start, end = (x, top + 0.03, back), (x, top + 0.02, back)
        widths, ratio, caps = (0.028, 0.028), 1.0, (1.0, 1.0)
    return [Part(start, end, front, widths, ratio, caps, paint.plain(person.hair_colour))]


def _hat(person: Person, front: Point, top: float, z: float) -> list[Part]:
    """The part of a hat that stands off the skull; paint.head colours the rest."""
    cloth = paint.plain(tuple(0.85 * c for c in person.hat_colour))
    if person.hat == "cap":
        start = (front[0] * 0.03, top + 0.008, z + front[2] * 0.03)
        brim = (front[0] * 0.095, top - 0.004, z + front[2] * 0.095)
        return [Part(start, brim, (0, 1, 0), (0.042, 0.036), 0.2, (0.5, 0.5), cloth)]
    if person.hat == "sunhat":
        start, end = (0, top + 0.018, z), (0, top + 0.004, z)
        return [Part(start, end, front, (0.07, 0.1), 1.0, (0.2, 0.05), cloth)]
    return []


def bags(person: Person, neck: Point, hip: float, hands: dict[int, Point]) -> list[Part]:
    """What the person carries.

    Args:
        person: who.
        neck: base of the neck.
        hip: height of the hip joints.
        hands: of the left (1) and the right (-1) hand.
    """
    colour, size, side = person.bag_colour, person.bag_size, person.bag_side
    skin = paint.plain(colour)
    dark = paint.plain(tuple(0.6 * c for c in colour))
    if person.bag == "backpack":
        y, z = neck[1] - 0.035, neck[2] - 0.10
        pocket = paint.upto(skin, dark, 0.55)
        return [
            Part(
                (0, y, z),
                (0, y - 0.215 * size, z - 0.012),
                _FORWARD,
                (0.055 * size, 0.075 * size, 0.082 * size, 0.082 * size, 0.074 * size),
                0.62,
                (0.5, 0.3),
                pocket,
            )
        ]
    if person.bag == "crossbody":
        x, y = side * 0.115 * person.build**0.6, hip + 0.03
        return [
            Part(
                (x, y, 0.02),
                (x * 1.05, y - 0.11 * size, 0.02),
                (side, 0, 0),
                (0.065 * size, 0.07 * size),
                0.45,
                (0.2, 0.3),
                skin,
            )
        ]
    if person.bag == "handbag":
        x, y = side * 0.145 * person.build**0.5, neck[1] - 0.17
        shoulder = (side * 0.1, neck[1] - 0.02, neck[2])
        return [
            Part(shoulder, (x, y, -0.01), (side, 0, 0), (0.008, 0.008), 1.0, (0, 0), dark),
            Part(
                (x, y, -0.01),
                (x, y - 0.125 * size, -0.01),
                (side, 0, 0),
                (0.066 * size, 0.085 * size),
                0.4,
                (0.3, 0.2),
                skin,
            ),
        ]
    return _in_hand(person, hands[side])


def _in_hand(person: Person, hand: Point) -> list[Part]:
    """A tote bag that hangs from the hand, or a suitcase that follows it on the ground."""
    colour, size, side = person.bag_colour, person.bag_size, person.bag_side
    skin = paint.plain(colour)
    dark = paint.plain(tuple(0.6 * c for c in colour))
    x, y, z = hand
    if person.bag == "tote":
        return [
            Part((x, y, z), (x, y - 0.06, z), (side, 0, 0), (0.004, 0.045), 0.3, (0, 0), dark),
            Part(
                (x, y - 0.05, z),
                (x, y - 0.05 - 0.14 * size, z),
                (side, 0, 0),
                (0.06 * size, 0.068 * size),
                0.4,
                (0.1, 0.2),
                skin,
            ),
        ]
    if person.bag == "suitcase":
        x, top, back = x + side * 0.02, 0.30 * size, -0.20
        return [
            Part(
                (x, y, z),
                (x, top, back),
                _FORWARD,
                (0.006, 0.006),
                1.0,
                (0, 0),
                paint.plain((0.3, 0.3, 0.3)),
            ),
            Part(
                (x, top, back),
                (x, 0.025, back - 0.04),
                _FORWARD,
                (0.085 * size, 0.088 * size),
                0.6,
                (0.12, 0.1),
                paint.upto(skin, dark, 0.9),
            ),
        ]
    return []
