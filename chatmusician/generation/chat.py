"""A conversation: the turns so far, kept inside the model's context window."""

from chatmusician.data.prompts import Turn
from chatmusician.generation.decoding import Decoding
from chatmusician.generation.generator import Generator, Pieces
from chatmusician.generation.prompting import Prompt, check_question


class Conversation:
    """Questions and answers of one chat, exactly as they were said.

    The history that goes into a prompt is what leaves ``reserve`` tokens of the window for the answer: the oldest turns
    are left out first, and `dropped` counts them.

    Args:
        generator: who answers.
        reserve: tokens of the window that history may not take from the answer.
    """

    def __init__(self, *, generator: Generator, reserve: int) -> None:
        self.generator, self.reserve = generator, reserve
        self.turns: tuple[Turn, ...] = ()
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
        self.turns += (Turn(question=question, answer=answer.text),)
        return answer

    def prompt(self, question: str) -> Prompt:
        """The prompt for ``question``, with as much of the history as fits."""
        while self.dropped < len(self.turns):
            prompt = Prompt(text=question, history=self.turns[self.dropped :])
            if len(self.generator.prompt_ids(prompt)) + self.reserve <= self.generator.window:
                return prompt
            self.dropped += 1
        return Prompt(text=question)
