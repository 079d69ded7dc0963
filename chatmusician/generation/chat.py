"""A conversation: the turns so far, kept inside the model's context window."""

from chatmusician.data.prompts import Turn
from chatmusician.generation.decoding import Decoding
from chatmusician.generation.generator import Generator, Pieces
from chatmusician.generation.prompting import Prompt, check_question

ANSWER_SHARE = 4
"""At least one in this many tokens of the window is kept free of history for the answer."""


def reserve_of(generator: Generator, decoding: Decoding) -> int:
    """Tokens of the window that history leaves to an answer: all that it may have, or a share of the window."""
    return min(decoding.max_new_tokens, generator.window // ANSWER_SHARE)


class Conversation:
    """Questions and answers of one chat, exactly as they were said.

    The history that goes into a prompt is what leaves ``reserve`` tokens of the window for the answer: the oldest turns
    are left out first, and `dropped` counts them.

    Args:
        generator: who answers.
        reserve: tokens of the window that history may not take from the answer.
        turns: what was said before, perhaps to another model.
    """

    def __init__(self, *, generator: Generator, reserve: int, turns: tuple[Turn, ...] = ()) -> None:
        self.generator, self.reserve = generator, reserve
        self.turns = turns
        """All completed turns, oldest first."""
        self.dropped = 0
        """How many of the oldest turns the model no longer sees, since they do not fit the window."""

    def ask(self, question: str, decoding: Decoding, *, adapter: str | None = None) -> Pieces:
        """The answer in pieces; the turn joins the history when the last piece was taken.

        Args:
            question: what is asked now.
            decoding: how tokens are chosen.
            adapter: see `chatmusician.generation.backends.backend.Backend.open`.

        Raises:
            UserError: the question has no letters, or does not fit the window even without history.
        """
        check_question(question)
        answer = yield from self.generator.stream(self.prompt(question), decoding, adapter=adapter)
        self.add(question, answer.text)
        return answer

    def add(self, question: str, answer: str) -> None:
        """Let a turn join the history, exactly as it was said."""
        self.turns += (Turn(question=question, answer=answer),)

    def take_back(self) -> None:
        """Let the newest turn leave the history, so that its question can be asked again."""
        self.turns = self.turns[:-1]
        self.dropped = min(self.dropped, len(self.turns))

    def prompt(self, question: str) -> Prompt:
        """The prompt for ``question``, with as much of the history as fits."""
        while self.dropped < len(self.turns):
            prompt = Prompt(text=question, history=self.turns[self.dropped :])
            if len(self.generator.prompt_ids(prompt)) + self.reserve <= self.generator.window:
                return prompt
            self.dropped += 1
        return Prompt(text=question)
