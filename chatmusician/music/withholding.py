"""Tunes without the field that a question asks for.

A tune without its key still has to sound as it does, or the question could not be answered: `without_key` puts it under
``K:none`` and writes every accidental at its note. Without its meter a tune is as it was: its bars still show how much
goes into one, and the groups of its notes where the beats are. In G major::

    M:6/8  K:G     B2A F2A | =F3 f3 |
                   B2A ^F2A | F3 f3 |       without the key (the natural's own sign would hint at the signature)
"""

from collections.abc import Iterator

from chatmusician.music.keys import NO_KEY
from chatmusician.music.lexer import Kind, Note, read_field, rewrite_notes
from chatmusician.music.pitches import BarAccidentals, follow, notes_of
from chatmusician.music.tunes import Tune


def without_key(tune: Tune) -> str:
    """The text of a one-voice tune under ``K:none``, sounding the same; its key must not change on the way."""
    header = [f"{field.name}:{field.value if field.name != 'K' else 'none'}" for field in tune.fields]
    return "\n".join(header) + "\n" + "".join(_spelt_out(tune))


def without_meter(tune: Tune) -> str:
    """The text of a tune without the ``M:`` field of its header; its meter must not change on the way."""
    header = [f"{field.name}:{field.value}" for field in tune.fields if field.name != "M"]
    return "\n".join(header) + "\n" + tune.body


def changes(tune: Tune, name: str) -> bool:
    """True if the body has a field of that name, such as ``[K:Em]``."""
    fields = (token.text for token in tune.tokens if token.kind in (Kind.FIELD, Kind.INLINE_FIELD))
    return any(read_field(text)[0] == name for text in fields)


def _spelt_out(tune: Tune) -> Iterator[str]:
    read, written = BarAccidentals(signature=tune.key.signature), BarAccidentals(signature=NO_KEY.signature)

    def spell(note: Note) -> str:
        accidental = written.write(note.letter, note.octave, read.read(note))
        marks = "'" * (note.octave - 1) if note.octave > 0 else "," * -note.octave
        return accidental + (note.letter.lower() if note.octave > 0 else note.letter) + marks

    for token in tune.tokens:
        text = token.text
        if notes_of(token):
            read.next_token()
            written.next_token()
            text = rewrite_notes(text, spell)
        yield text
        follow(read, token)
        follow(written, token)
