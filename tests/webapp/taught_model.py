"""A tiny model that was taught five answers by heart, so that what the demo shows is known."""

from pathlib import Path

from taught_models import teach_texts

from chatmusician.data.prompts import format_answer, format_question

SCALE = "X:1\nT:The Test Scale\nM:4/4\nL:1/4\nQ:1/4=120\nK:C\nCDEF | GABc |]"
WALTZ = "X:2\nT:The Test Waltz\nM:3/4\nL:1/4\nK:G\nGBd | g3 |]"
MARKUP = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'> **bold** $x$ ${1 + 1} {{ 1 }}"

ANSWERS = {
    "Compose a scale.": f"Here it is:\n{SCALE}",
    "Write two tunes.": f"The first:\n{SCALE}\n\nThe second:\n{WALTZ}",
    "Show me markup.": MARKUP,
    "What is a fifth?": "Seven semitones, as from C to G.",
    "Play on and on.": "la " * 120,
}
"""Question to answer; the last one never ends, as no end of it was taught."""
ENDLESS = "Play on and on."
WINDOW = 4096


def teach(output: Path) -> Path:
    """Train the model on its answers and save it as a folder."""
    texts = [format_question(question) + format_answer(answer) for question, answer in ANSWERS.items()]
    texts[-1] = texts[-1].removesuffix(" </s> ")
    return teach_texts(texts, output, window=WINDOW)
