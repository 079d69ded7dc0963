"""The generate command after its configuration was accepted: one prompt, a file of prompts, or a conversation.

Answers go to standard output, remarks on them to standard error, so that a pipe gets the text and nothing else.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatmusician.errors import UserError
from chatmusician.generation.decoding import Decoding
from chatmusician.generation.loading import load_as_configured, model_or_newest
from chatmusician.generation.prompt_files import AnswerFile, AnswerRow, read_prompts
from chatmusician.generation.prompting import Prompt, check_question

if TYPE_CHECKING:
    from chatmusician.generation.generator import Answer, Generator, Pieces

ANSWERS_FILE = "answers.jsonl"
SWITCH = "/adapter "


@dataclass(frozen=True, kw_only=True)
class Session:
    """A loaded model and how its answers are to be handled."""

    generator: "Generator"
    decoding: Decoding
    template: bool
    """Wrap what is typed in the chat template."""
    render_dir: Path | None
    """Where each tune is written as score and sound; None for not at all."""

    def prompt(self, text: str) -> Prompt:
        """The prompt for what was typed."""
        return Prompt(text=text, template=self.template)


def run(cfg: Any, *, output_dir: Path) -> None:
    """Do what the configuration of the generate command says.

    Args:
        cfg: the composed configuration, see conf/generate.yaml.
        output_dir: this run's own folder, for files that were given no other place.

    Raises:
        UserError: something the user can mend; refused before the model is loaded where possible.
    """
    from hydra.utils import instantiate

    if cfg.prompt is not None and cfg.prompts is not None:
        raise UserError("prompt= and prompts= were both given: choose one text or one file")
    if cfg.output is not None and cfg.prompts is None:
        raise UserError(f"output={cfg.output} goes with prompts=FILE: a single answer is printed")
    decoding: Decoding = instantiate(cfg.generation)
    texts: list[str] = []
    if cfg.prompt is not None:
        check_question(str(cfg.prompt))
    elif cfg.prompts is not None:
        texts = read_prompts(Path(cfg.prompts))
    answers = AnswerFile(Path(cfg.output) if cfg.output else output_dir / ANSWERS_FILE, texts) if texts else None
    session = Session(
        generator=load_as_configured(cfg, model_or_newest(cfg.model), batch_size=cfg.batch_size),
        decoding=decoding,
        template=cfg.template,
        render_dir=output_dir if cfg.render else None,
    )
    if cfg.prompt is not None:
        answer_one(session, str(cfg.prompt))
    elif answers is not None:
        answer_file(session, answers)
    else:
        converse(session)


def answer_one(session: Session, text: str) -> None:
    """Print the answer to one prompt as it is generated."""
    _print_stream(session, session.generator.stream(session.prompt(text), session.decoding), stem="tune")


def answer_file(session: Session, answers: AnswerFile) -> None:
    """Answer what is missing in ``answers``.

    Raises:
        UserError: rows failed; they are listed.
    """
    with answers:
        todo = answers.missing()
        done = len(answers.prompts) - len(todo)
        if done:
            _remark(f"{answers.path} has {done} of {len(answers.prompts)} answers; going on with the others")
        good = [i for i in todo if not _refused(session, answers, i)]
        prompts = [session.prompt(answers.prompts[i]) for i in good]
        for position, answer in session.generator.answers(prompts, session.decoding, numbers=good):
            row = _answer_row(session, good[position], answers.prompts[good[position]], answer)
            answers.append(row)
            _remark(f"{row.index}: {row.tokens} tokens" + "".join(f"; {problem}" for problem in row.problems))
    print(answers.path)
    without_tune = sum(row.abc is None and row.error is None for row in answers.rows.values())
    if without_tune:
        _remark(f"{without_tune} of {len(answers.prompts)} answers have no tune")
    if failed := answers.failed():
        listed = "; ".join(f"{row.index}: {row.error}" for row in failed)
        raise UserError(f"{len(failed)} of {len(answers.prompts)} prompts failed: {listed}")


def _refused(session: Session, answers: AnswerFile, index: int) -> bool:
    """Whether a prompt cannot be generated from; the row then says why."""
    text = answers.prompts[index]
    try:
        check_question(text)
        session.generator.check(session.prompt(text))
    except UserError as error:
        answers.append(AnswerRow(index=index, prompt=text, answer=None, abc=None, error=str(error)))
        return True
    return False


def _answer_row(session: Session, index: int, prompt: str, answer: "Answer") -> AnswerRow:
    from chatmusician.generation.tune_output import tune_of, write_tune

    tune = tune_of(answer)
    if tune.abc is not None and session.render_dir is not None:
        for line in write_tune(tune.abc, session.render_dir, stem=f"tune-{index:05d}"):
            print(line)
    return AnswerRow(
        index=index,
        prompt=prompt,
        answer=answer.text,
        abc=tune.abc,
        problems=tune.problems,
        tokens=answer.tokens,
        finished=answer.finished,
        seconds=round(answer.seconds, 3),
    )


def converse(session: Session) -> None:
    """Answer questions from standard input, a line each, until an empty line, end of file or Ctrl-C.

    With the template, earlier turns are part of each prompt; without it, each line is continued for itself. A line
    ``/adapter NAME`` changes the adapter from the next answer on.
    """
    from chatmusician.generation.chat import Conversation, reserve_of

    generator, decoding = session.generator, session.decoding
    conversation = Conversation(generator=generator, reserve=reserve_of(generator, decoding))
    adapter: str | None = None
    try:
        for number, question in enumerate(_questions(), 1):
            dropped = conversation.dropped
            try:
                if question.startswith(SWITCH):
                    adapter = _switched(generator, question.removeprefix(SWITCH).strip())
                    continue
                if session.template:
                    pieces = conversation.ask(question, decoding, adapter=adapter)
                else:
                    pieces = generator.stream(session.prompt(question), decoding, adapter=adapter)
                _print_stream(session, pieces, stem=f"tune-{number:05d}")
                if conversation.dropped > dropped:
                    _remark(f"(the window is full: the first {conversation.dropped} turns are no longer seen)")
            except UserError as error:
                _remark(str(error))
    except KeyboardInterrupt:
        print()


def _switched(generator: "Generator", name: str) -> str:
    from chatmusician.generation.backends.backend import check_adapter

    check_adapter(name, generator.adapters)
    _remark(f"(adapter {name})")
    return name


def _questions() -> Iterator[str]:
    prompt = "You: " if sys.stdin.isatty() else ""
    while True:
        try:
            line = input(prompt)
        except EOFError:
            return
        if not line.strip():
            return
        yield line


def _print_stream(session: Session, pieces: "Pieces", *, stem: str) -> None:
    """Print an answer as it comes, then what there is to say about its tune."""
    from chatmusician.generation.tune_output import tune_of, write_tune

    while True:
        try:
            print(next(pieces), end="", flush=True)
        except StopIteration as end:
            answer: Answer = end.value
            break
    print(flush=True)
    tune = tune_of(answer)
    for problem in tune.problems:
        _remark(problem)
    if tune.abc is not None and session.render_dir is not None:
        for line in write_tune(tune.abc, session.render_dir, stem=stem):
            print(line)


def _remark(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
