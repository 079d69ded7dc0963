"""Questions about key signatures, relative and parallel keys, and the circle of fifths."""

from random import Random

from chatmusician.music.theory.draft import Draft, Maker, count_of, draft, pick_unlike
from chatmusician.music.theory.scales import (
    MODES,
    altered_letters,
    sharps,
    signature_text,
    tonic_with,
    tonics,
)
from chatmusician.music.theory.spelling import pitch

_MOST = {1: 3, 2: 7, 3: 7}
_NAME = {"major": "major", "natural minor": "minor"}


def _key(tonic: str, scale: str) -> str:
    return f"{tonic} {_NAME.get(scale, scale)}"


def _scales(level: int) -> tuple[str, ...]:
    return {1: ("major",), 2: ("major", "natural minor"), 3: ("natural minor", *MODES[1:5], MODES[6])}[level]


def _near_signatures(count: int) -> list[str]:
    """A sharp or two more or fewer, and the same number of the other kind."""
    return [
        signature_text(other)
        for other in {count - 2, count - 1, count + 1, count + 2, -count, -count - 1, -count + 1}
        if -7 <= other <= 7 and other != count
    ]


def _near_keys(count: int, scale: str) -> list[str]:
    """Keys whose signatures are mistaken for this one, none of which sounds the same."""
    near = (count + change for change in (-1, 1, -2, 2, -3, 3))
    found = [pitch(tonic_with(other, scale)) for other in (-count, *near) if abs(other) <= 7]
    return [_key(tonic.name, scale) for tonic in pick_unlike(found, [pitch(tonic_with(count, scale))])]


def _draw(rng: Random, level: int) -> tuple[str, str, int]:
    """A key of the level: its scale, its tonic, and how many sharps (or, below zero, flats) it has."""
    scale = rng.choice(_scales(level))
    tonic = rng.choice(tonics(scale, _MOST[level]))
    return scale, tonic, sharps(tonic, scale)


def _signature(level: int) -> Maker:
    def make(rng: Random) -> Draft | None:
        scale, tonic, count = _draw(rng, level)
        return draft(
            rng,
            ("key_signatures.signature", tonic, scale.replace(" ", "_")),
            (
                "What is the key signature of {key}?",
                "How many sharps or flats does the key signature of {key} have?",
                "A piece is in {key}. What does its key signature show?",
                "Which key signature goes with {key}?",
            ),
            answer=signature_text(count),
            wrong=_near_signatures(count),
            because=_reason(tonic, scale),
            key=_key(tonic, scale),
        )

    return make


def _reason(tonic: str, scale: str) -> str:
    """How a signature is found: as that of a major key, whose altered notes are listed."""
    count = sharps(tonic, scale)
    altered = ": " + " ".join(altered_letters(count)) if count else ""
    if scale == "major":
        return f"{tonic} major has {signature_text(count)}{altered}."
    major = f"{tonic_with(count, 'major')} major"
    return f"{_key(tonic, scale)} has the notes of {major}, which has {signature_text(count)}{altered}."


def _which_key(level: int) -> Maker:
    def make(rng: Random) -> Draft | None:
        scale, tonic, count = _draw(rng, level)
        return draft(
            rng,
            ("key_signatures.key", count, scale.replace(" ", "_")),
            (
                "Which {scale} key has {signature}?",
                "The key signature shows {signature}. Which {scale} key is it?",
                "With {signature} in the signature, the {scale} key is ...",
            ),
            answer=_key(tonic, scale),
            wrong=_near_keys(count, scale),
            because=_reason(tonic, scale),
            scale=_NAME.get(scale, scale),
            signature=signature_text(count),
        )

    return make


def _relative(level: int) -> Maker:
    def make(rng: Random) -> Draft | None:
        to_minor = rng.random() < 0.5
        scale, other = ("major", "natural minor") if to_minor else ("natural minor", "major")
        tonic = rng.choice(tonics(scale, 3 if level == 1 else 7))
        count = sharps(tonic, scale)
        right = tonic_with(count, other)
        return draft(
            rng,
            ("key_signatures.relative", tonic, scale.replace(" ", "_")),
            (
                "What is the relative {other} of {key}?",
                "Which {other} key has the same key signature as {key}?",
                "Name the {other} key that shares its signature with {key}.",
            ),
            answer=_key(right, other),
            wrong=[
                *(key for key in _near_keys(count, other) if pitch(key.split()[0]).sound != pitch(tonic).sound),
                _key(tonic, other),
            ],
            because="The relative minor is a minor third below its major: {key} and {answer} both have {signature}.",
            key=_key(tonic, scale),
            other=_NAME[other],
            signature=signature_text(count),
        )

    return make


def _parallel(level: int) -> Maker:
    """The signature of the parallel key, three steps along the circle of fifths."""

    def make(rng: Random) -> Draft | None:
        scale = rng.choice(("major", "natural minor"))
        other = "natural minor" if scale == "major" else "major"
        tonic = rng.choice(tonics(scale, 3 if level == 1 else 6))
        if abs(sharps(tonic, other)) > 7:
            return None
        count = sharps(tonic, other)
        return draft(
            rng,
            ("key_signatures.parallel", tonic, scale.replace(" ", "_")),
            (
                "What is the key signature of the parallel {other} of {key}?",
                "A piece in {key} moves to the {other} key on the same tonic. How many sharps or flats does that have?",
                "{key} has {signature}. What does its parallel {other} have?",
            ),
            answer=signature_text(count),
            wrong=[*_near_signatures(count), signature_text(sharps(tonic, scale))],
            because="{parallel} is three fifths away from {key}, which has {signature}: {answer}.",
            key=_key(tonic, scale),
            other=_NAME[other],
            parallel=_key(tonic, other),
            signature=signature_text(sharps(tonic, scale)),
        )

    return make


def _altered(level: int) -> Maker:
    """Which notes the signature alters, and which it does not."""

    def make(rng: Random) -> Draft | None:
        scale = "major" if level == 1 else rng.choice(("major", "natural minor"))
        tonic = rng.choice(tonics(scale, 4 if level == 1 else 6))
        count = sharps(tonic, scale)
        if not count:
            return None
        letters = altered_letters(count)
        mark = letters[0][1:]
        place = rng.randrange(len(letters))
        others = [letter + mark for letter in "FCGDAEB"]
        return draft(
            rng,
            ("key_signatures.order", tonic, scale.replace(" ", "_"), place + 1),
            (
                "In the key signature of {key}, which {mark} is written as number {place}, counting from the clef?",
                "Going through the key signature of {key} from left to right, which {mark} comes as number {place}?",
            ),
            answer=letters[place],
            wrong=others,
            because="{key} has {signature}, written in the order {letters}; number {place} is {answer}.",
            key=_key(tonic, scale),
            mark="sharp" if mark == "#" else "flat",
            place=place + 1,
            signature=signature_text(count),
            letters=" ".join(letters),
        )

    return make


def _fifths(level: int) -> Maker:
    """Steps along the circle of fifths."""

    def make(rng: Random) -> Draft | None:
        scale = "major" if level == 2 else rng.choice(("major", "natural minor"))
        tonic = rng.choice(tonics(scale, 6))
        steps = rng.choice((-3, -2, 2, 3)) if level == 2 else rng.choice((-6, -5, -4, 4, 5, 6))
        count = sharps(tonic, scale) + steps
        if abs(count) > 7:
            return None
        return draft(
            rng,
            ("key_signatures.fifths", tonic, scale.replace(" ", "_"), steps),
            (
                "Start from {key} and go {steps} fifths {way} along the circle of fifths, staying in {scale}. In which "
                "key are you?",
                "Which {scale} key is {steps} perfect fifths {side} {key}?",
            ),
            answer=_key(tonic_with(count, scale), scale),
            wrong=_near_keys(count, scale),
            because="Each fifth {way} {change}, so {signature} becomes {target}: {answer}.",
            key=_key(tonic, scale),
            steps=abs(steps),
            way="up" if steps > 0 else "down",
            side="above" if steps > 0 else "below",
            scale=_NAME[scale],
            change="adds a sharp or takes a flat away" if steps > 0 else "adds a flat or takes a sharp away",
            signature=signature_text(sharps(tonic, scale)),
            target=signature_text(count),
        )

    return make


def _same_sound(rng: Random) -> Draft | None:
    scale = rng.choice(("major", "natural minor"))
    count = rng.choice((-7, -6, -5, 5, 6, 7))
    key = _key(tonic_with(count, scale), scale)
    target = count - 12 if count > 0 else count + 12
    return draft(
        rng,
        ("key_signatures.same_sound", tonic_with(count, scale), scale.replace(" ", "_")),
        (
            "Which key sounds the same as {key}?",
            "{key} can be written enharmonically as which key?",
            "Name the enharmonic equivalent of {key}.",
        ),
        answer=_key(tonic_with(target, scale), scale),
        wrong=_near_keys(target, scale),
        because="The signatures of enharmonic keys add up to twelve: {signature} and {other}.",
        key=key,
        signature=signature_text(count),
        other=signature_text(target),
    )


def _distance(rng: Random) -> Draft | None:
    """How many notes of the seven change from one key to another."""
    first, second = (rng.choice(("major", "natural minor")) for _ in range(2))
    one, other = rng.choice(tonics(first, 6)), rng.choice(tonics(second, 6))
    changes = abs(sharps(one, first) - sharps(other, second))
    if not 1 <= changes <= 6:
        return None
    return draft(
        rng,
        (
            "key_signatures.distance",
            *sorted((_key(one, first).replace(" ", "_"), _key(other, second).replace(" ", "_"))),
        ),
        (
            "How many of the seven letters have another accidental in the key signature of {second} than in that of "
            "{first}?",
            "A piece modulates from {first} to {second}, with a new key signature. How many notes of the signature "
            "change?",
        ),
        answer=count_of(changes, "note"),
        wrong=[count_of(number, "note") for number in range(max(1, changes - 3), min(7, changes + 3) + 1)],
        because="{first} has {one} and {second} has {other}: {answer} apart on the circle of fifths.",
        first=_key(one, first),
        second=_key(other, second),
        one=signature_text(sharps(one, first)),
        other=signature_text(sharps(other, second)),
    )


MAKERS: dict[int, tuple[Maker, ...]] = {
    1: (_signature(1), _which_key(1), _relative(1), _parallel(1), _altered(1)),
    2: (_signature(2), _which_key(2), _relative(2), _parallel(2), _altered(2), _fifths(2)),
    3: (_signature(3), _which_key(3), _fifths(3), _same_sound, _distance, _distance),
}
