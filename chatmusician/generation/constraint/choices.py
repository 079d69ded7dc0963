"""Which tokens may come next: the machine walked over the vocabulary, once for each situation.

Most of a walk does not depend on the tune at hand but on the bar at hand: ``3/8 left, after a note of 1/8``. So walks
are made on `Moment`s, without the voice, and remembered there for every large branch of the vocabulary: a new moment
finds most of its tokens already walked, since after its first character it is where another one was. Where a token
reaches into the next bar, or is a field, the walk on the moment stops (a `Crossing`) and is finished with the voice.
"""

from typing import NamedTuple

from chatmusician.generation.constraint.answers import PLAIN_PROSE, Grammar, Prose, State
from chatmusician.generation.constraint.sections import Closing
from chatmusician.generation.constraint.states import Event, Pending
from chatmusician.generation.constraint.tunes import Body, Header, Moment, answer
from chatmusician.generation.constraint.vocabulary import Branch, Vocabulary

LARGE = 4
"""Walks over branches with fewer forks are not remembered."""
MOST_SITUATIONS = 30_000
"""Situations that are remembered; beyond it the memory is cleared."""


class Crossing(NamedTuple):
    """Where a walk on moments stops: what the character at ``place`` of a branch's label made of a moment."""

    branch: Branch
    place: int
    moment: Moment
    found: Event


class Walk(NamedTuple):
    """What a walk on moments found."""

    tokens: int
    """Tokens that may come, as bits of the vocabulary."""
    crossings: tuple[Crossing, ...]


_NOTHING = Walk(0, ())


class Situation:
    """A state between two tokens, which occurs once only."""

    __slots__ = ("after", "in_bar", "in_tune", "is_free", "may_end", "state", "tokens")

    def __init__(self, state: State) -> None:
        self.state = state
        self.is_free = isinstance(state, Prose) and state.is_free
        """Any token may follow."""
        self.in_tune = isinstance(state, Body)
        self.may_end = state.may_end if isinstance(state, Body) else not isinstance(state, Header)
        """The answer may end."""
        self.in_bar = isinstance(state, Body) and state.moment.music.gap is None
        self.tokens: int | None = None
        """Tokens that may follow, as bits of the vocabulary; None until they are asked for."""
        self.after: dict[int, Situation] = {}
        """By token, as far as they were met."""


class Choices:
    """What may come next in an answer, with the tokens of one vocabulary.

    Args:
        vocabulary: the tokens.
        counted: bars must add up.
    """

    def __init__(self, vocabulary: Vocabulary, *, counted: bool) -> None:
        self.vocabulary = vocabulary
        self.grammar = Grammar(counted=counted)
        self._situations: dict[State, Situation] = {}

    @property
    def is_full(self) -> bool:
        """Whether the memory should be cleared."""
        return len(self._situations) > MOST_SITUATIONS

    def clear(self) -> None:
        """Forget all situations; those still held go on to work."""
        self._situations.clear()
        self.grammar.moments.clear()

    def situation(self, state: State) -> Situation:
        """The situation of a state."""
        found = self._situations.get(state)
        if found is None:
            found = self._situations[state] = Situation(state)
        return found

    def tokens(self, situation: Situation) -> int:
        """The tokens that may follow, as bits of the vocabulary."""
        if situation.tokens is None:
            state = situation.state
            in_notation = isinstance(state, Body) and state.moment.in_notation
            root = self.vocabulary.notation if in_notation else self.vocabulary.root
            situation.tokens = self._walk(root, 0, state)
        return situation.tokens

    def plain_tokens(self, situation: Situation) -> int:
        """Of these tokens, those that an overruled model is left with; all where that would be none.

        They go straight on: to a full bar by notes, out of a full bar by a bar line, to the next bar by a note or a
        new line.
        """
        tokens, state, kinds = self.tokens(situation), situation.state, self.vocabulary.kinds
        if not isinstance(state, Body):
            return tokens
        music = state.moment.music
        pending = isinstance(music.data, Pending)
        clock = music.clock.play(music.data.written.ticks) if pending else music.clock
        if music.gap is not None:
            plain = kinds.notes | kinds.new_lines if music.gap.is_ripe else kinds.bar_lines | kinds.new_lines
        elif clock is None or clock.room is None or not clock.settled:
            plain = kinds.notes | kinds.halves | kinds.bar_lines
        elif not clock.room:
            plain = kinds.bar_lines
        else:
            plain = kinds.halves if clock.room % clock.unit else kinds.notes
        return tokens & plain or tokens

    def follow(self, situation: Situation, token: int) -> Situation:
        """The situation after a token. One that may not follow makes prose of what comes."""
        found = situation.after.get(token)
        if found is None:
            state = self.grammar.steps(situation.state, self.vocabulary.texts[token] or "")
            found = situation.after[token] = self.situation(state if state is not None else PLAIN_PROSE)
        return found

    def read(self, text: str) -> Situation:
        """The situation after a text that was not held to the rules."""
        state: State = Prose()
        for c in text:
            state = self.grammar.step(state, c) or PLAIN_PROSE
        return self.situation(state)

    def _walk(self, branch: Branch, place: int, state: State) -> int:
        """The tokens of a branch that may come, after the characters of its label before ``place``."""
        if isinstance(state, Body):
            return self._walk_body(branch, place, state)
        if isinstance(state, Header) and state.stops is not None and branch.characters.isdisjoint(state.stops):
            return branch.below
        for index in range(place, len(branch.label)):
            after = self.grammar.step(state, branch.label[index])
            if after is None:
                return 0
            if isinstance(after, Body):
                return self._walk_body(branch, index + 1, after)
            state = after
        tokens = branch.here
        for below in branch.branches:
            tokens |= self._walk(below, 0, state)
        return tokens

    def _walk_body(self, branch: Branch, place: int, body: Body) -> int:
        walk = self._walk_moment(branch, place, body.moment)
        tokens = walk.tokens
        for crossing in walk.crossings:
            before = body._replace(moment=crossing.moment)
            state = self.grammar.after_body(before, answer(before, crossing.found, self.grammar.moments))
            if state is not None:
                tokens |= self._walk(crossing.branch, crossing.place + 1, state)
        return tokens

    def _walk_moment(self, branch: Branch, place: int, moment: Moment) -> Walk:
        """What may come without knowing the voice."""
        if moment.stops is not None and branch.characters.isdisjoint(moment.stops):
            return Walk(branch.below, ())
        remembered = not place and branch.size >= LARGE
        if remembered and (known := moment.walks.get(branch)) is not None:
            return known
        walk = self._walk_anew(branch, place, moment)
        if remembered:
            moment.walks[branch] = walk
        return walk

    def _walk_anew(self, branch: Branch, place: int, moment: Moment) -> Walk:
        moments = self.grammar.moments
        here = moment
        for index in range(place, len(branch.label)):
            found = here.after(branch.label[index], moments)
            if not isinstance(found, Moment):
                return _NOTHING if found is None else Walk(0, (Crossing(branch, index, here, found),))
            here = found
        tokens = branch.here if self._may_stop(here) else 0
        crossings: tuple[Crossing, ...] = ()
        for below in branch.branches:
            walk = self._walk_moment(below, 0, here)
            tokens |= walk.tokens
            crossings += walk.crossings
        return Walk(tokens, crossings)

    def _may_stop(self, moment: Moment) -> bool:
        """Whether a token may end here.

        After a ``|`` that is right only as the start of another bar line it may not, if there are tokens for that bar
        line: a model that wants a plain one would be led into a double one. Where LLaMA's pieces are to write ``|]``,
        there is no other way; then it may, if the bar is short by a pickup.
        """
        gap = moment.music.gap
        if gap is None or gap.left is None:
            return True
        if gap.is_ripe:
            return gap.opens or not gap.is_lent
        return not self.vocabulary.writes_borders and gap.closings.allow(gap.left, Closing.BORDER)
