"""Speed of the evaluation.

    python experiments/benchmarks/evaluate.py [--rounds 3] [--questions 32] [--model outputs/quickstart/model]

Each figure is the work of one function, which says what it times. The last line is JSON:

- ``eval_quick_s``: seconds of ``python -m chatmusician.evaluate +experiment=eval_quick`` on the nano model that the
  quickstart left, start of the process and report included; left out where there is no such model;
- ``quiz_per_minute``: questions of the theory quiz that one process makes in a minute, all topics and levels in turn;
- ``mtb_speed_vs_one_by_one``: how many times as fast 5-shot multiple-choice questions are scored with common stretches
  computed once, as against one forward pass for each option; the median of the rounds' ratios.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main() -> None:
    """Take every measurement and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns that each contender takes")
    parser.add_argument("--questions", type=int, default=32, help="multiple-choice questions in a turn")
    parser.add_argument("--model", default="outputs/quickstart/model", help="the nano model that is evaluated")
    arguments = parser.parse_args()
    figures: dict[str, float] = quiz()
    if Path(arguments.model).is_dir():
        figures |= quick_evaluation(arguments.model)
    figures |= multiple_choice(rounds=arguments.rounds, questions=arguments.questions)
    print(json.dumps(figures))


def quiz(count: int = 20_000) -> dict[str, float]:
    """Questions for training, as many as ``count``."""
    from chatmusician.music.theory.questions import generate

    started = time.perf_counter()
    made = sum(1 for _ in generate(seed=0, count=count))
    return {"quiz_per_minute": round(60 * made / (time.perf_counter() - started))}


def quick_evaluation(model: str) -> dict[str, float]:
    """The whole command, from nothing."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "chatmusician.evaluate", "+experiment=eval_quick"]
        started = time.perf_counter()
        subprocess.run([*command, f"model={model}", f"hydra.run.dir={folder}"], check=True)
        return {"eval_quick_s": round(time.perf_counter() - started, 1)}


def multiple_choice(*, rounds: int, questions: int) -> dict[str, float]:
    """5-shot questions of mixed length under the nano model, in turns; both contenders start from text.

    The rival tokenises a string, computes it whole, and takes the mean cross-entropy, for each of the four options.
    """
    import numpy as np
    import torch
    import torch.nn.functional as F

    from chatmusician.evaluation.choice_questions import option_strings
    from chatmusician.evaluation.choice_scores import score_options

    model, tokenizer = nano_model()
    examples = made_up_questions(5, seed=0)
    prompts = [option_strings(question, examples) for question in made_up_questions(questions, seed=1)]
    lengths = [len(tokenizer(strings[0]).input_ids) for strings in prompts]

    @torch.inference_mode()
    def one_by_one() -> Any:
        scores = np.zeros((len(prompts), 4))
        for row, strings in enumerate(prompts):
            for column, string in enumerate(strings):
                ids = torch.tensor(tokenizer(string).input_ids)
                scores[row, column] = F.cross_entropy(model(input_ids=ids[None]).logits[0, :-1], ids[1:])
        return scores

    contenders = {"one by one": one_by_one, "here": lambda: score_options(model, tokenizer, prompts)}
    off = float(abs(contenders["here"]() - contenders["one by one"]()).max())  # a warm-up too
    print(f"{questions} questions of {min(lengths)} to {max(lengths)} tokens; scores differ by at most {off:.1e}")
    if off > 1e-5:
        raise SystemExit("the two ways of scoring disagree: their speeds mean nothing")
    turns = take_turns(contenders, rounds=rounds)
    return {"mtb_speed_vs_one_by_one": median_ratio(turns["one by one"], turns["here"])}


def take_turns(contenders: dict[str, Callable[[], Any]], *, rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender's turns, one after the other in each round."""
    turns: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(1, rounds + 1):
        for name, work in contenders.items():
            started = time.perf_counter()
            work()
            turns[name].append(time.perf_counter() - started)
        print(f"round {number}: " + ", ".join(f"{name} {times[-1]:.2f} s" for name, times in turns.items()), flush=True)
    return turns


def median_ratio(over: list[float], under: list[float]) -> float:
    """Median of the ratios of turns in the same round."""
    return round(statistics.median(a / b for a, b in zip(over, under, strict=True)), 2)


def nano_model() -> tuple[Any, Any]:
    """A model of the nano recipe's size (`conf/backbone/nano.yaml`) with random weights, and a tokenizer for it."""
    import torch

    from chatmusician.data.tokenizers import train_bpe
    from chatmusician.evaluation.choice_questions import question_text
    from chatmusician.modeling.backbone import NewLlama

    torch.manual_seed(0)
    lines = [question_text(question) for question in made_up_questions(400, seed=2)]
    tokenizer = train_bpe(lines, vocab_size=1024)
    sizes = NewLlama(hidden_size=192, layers=4, heads=3, intermediate_size=512, max_length=2048)
    return sizes.build(tokenizer).eval(), tokenizer


def made_up_questions(count: int, *, seed: int) -> list[Any]:
    """Questions about made-up tunes, of a few lines each."""
    import random

    from chatmusician.evaluation.choice_questions import ChoiceQuestion

    draw = random.Random(seed)
    questions = []
    for number in range(count):
        bars = ["".join(draw.choice("CDEFGABcdefgab") for _ in range(8)) for _ in range(draw.choice([2, 4, 8]))]
        questions.append(
            ChoiceQuestion(
                question_id=str(number),
                group="made up",
                stem=f"Which note begins bar {draw.randrange(2, 9)} of this tune, counting the first whole bar as one?",
                abc=f"X:{number}\nM:4/4\nL:1/8\nK:{draw.choice('CDGAF')}\n{' | '.join(bars)} |]",
                options=("the tonic", "the dominant", "the mediant", "none of these"),
                answer=draw.randrange(4),
            )
        )
    return questions


if __name__ == "__main__":
    main()
