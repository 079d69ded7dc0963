"""What the machine makes of a text."""

import string

from chatmusician.generation.constraint.answers import Grammar, Prose, State
from chatmusician.generation.constraint.tunes import Body, Header

SYNTAX, BARS = Grammar(counted=False), Grammar(counted=True)


def state_after(grammar: Grammar, text: str) -> State | None:
    """The state after a text; None if a character of it is refused."""
    return grammar.steps(Prose(), text.encode().decode("latin-1"))


def refused_at(grammar: Grammar, text: str) -> int | None:
    """Which character is refused, the end of the text included; None if the text is a whole answer."""
    state: State | None = Prose()
    characters = text.encode().decode("latin-1")
    for place, character in enumerate(characters):
        state = grammar.step(state, character)
        if state is None:
            return place
    return None if may_end(state) else len(characters)


def may_end(state: State) -> bool:
    """Whether an answer may end here."""
    return not isinstance(state, Header) and (not isinstance(state, Body) or state.may_end)


def followers(grammar: Grammar, text: str, *, among: str = string.printable) -> str:
    """The characters, of some, that may follow a text, in order."""
    state = state_after(grammar, text)
    assert state is not None, text
    return "".join(c for c in among if grammar.step(state, c) is not None)
