import pytest

from chatmusician.data.prompts import (
    CHAT_TEMPLATE,
    Turn,
    answer_spans,
    clean_fields,
    format_answer,
    format_prompt,
    format_question,
)
from chatmusician.data.tokenizers import train_bpe

CONVERSATION = "Human: Add chords. X:1 </s> Assistant: Done. </s> Human: Thanks. </s> Assistant: "


def test_one_turn_is_the_template_to_the_character() -> None:
    text = format_question("Develop a tune.\n'Dm', 'C'") + format_answer("X:1\nK:C")
    assert text == "Human: Develop a tune.\n'Dm', 'C' </s> Assistant: X:1\nK:C </s> "


def test_turns_repeat() -> None:
    assert format_prompt("Add chords.") == "Human: Add chords. </s> Assistant: "
    history = [Turn(question="Add chords. X:1", answer="Done.")]
    assert format_prompt("Thanks.", history) == CONVERSATION


@pytest.mark.parametrize(
    "row",
    [
        ("Add chords. ", "X:1", "X:2"),
        ("Human: Add chords. ", "X:1 </s> ", "Assistant: X:2 </s> "),
        ("Human: Add chords. ", "X:1 </s> ", "Assistant: X:2"),
        ("Human: Add chords. X:1 </s> ", "", "X:2 </s>"),
    ],
)
def test_rows_end_in_the_same_text_with_and_without_fragments(row: tuple[str, str, str]) -> None:
    question, answer = clean_fields(*row)
    assert format_question(question) + format_answer(answer) == ("Human: Add chords. X:1 </s> Assistant: X:2 </s> ")


def test_the_words_of_the_template_inside_a_text_stay() -> None:
    assert clean_fields("Who is the Human: in </s> here?", "", "The Assistant: I.") == (
        "Who is the Human: in </s> here?",
        "The Assistant: I.",
    )


def test_the_jinja_template_writes_the_same() -> None:
    tokenizer = train_bpe(["X:1"], vocab_size=259)
    messages = [
        {"role": "user", "content": "Add chords. X:1"},
        {"role": "assistant", "content": "Done."},
        {"role": "user", "content": "Thanks."},
    ]
    text = tokenizer.apply_chat_template(
        messages, chat_template=CHAT_TEMPLATE, tokenize=False, add_generation_prompt=True
    )
    assert text == CONVERSATION


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        ("Human: Hello. </s> Assistant: Hi. </s> ", ["Assistant: Hi. </s> "]),
        (
            "Human: A? </s> Assistant: B.\nC. </s> Human: D? </s> Assistant: E. </s> ",
            ["Assistant: B.\nC. </s> ", "Assistant: E. </s> "],
        ),
        ("Human: A? </s> Assistant: B.", ["Assistant: B."]),  # the mark was left out
        ("Human: A? </s> Assistant: B. </s>", ["Assistant: B. </s>"]),  # or its space
        ("Human: A? </s> Assistant: B. </s> Assistant: C. </s> ", ["Assistant: B. </s> ", "Assistant: C. </s> "]),
        ("Human: Is Assistant: a word? </s> Assistant: Yes. </s> ", ["Assistant: Yes. </s> "]),
        ("Human: A? </s> Assistant: Say Assistant: B. </s> ", ["Assistant: Say Assistant: B. </s> "]),
        ("Human: A? </s> Assistant:  </s> ", ["Assistant:  </s> "]),
        ("Human: A? </s> Human: B? </s> Assistant: C 🎵. </s> ", ["Assistant: C 🎵. </s> "]),
        ("Assistant: Hello. </s> Human: A? </s> ", []),  # no question before it
        ("Human: A? </s> ", []),
        ("A text about music.", []),
        ("", []),
    ],
)
def test_answers_are_found_in_a_text_in_the_template(text: str, answers: list[str]) -> None:
    assert [text[start:end] for start, end in answer_spans(text)] == answers


def test_what_is_formatted_is_found() -> None:
    turns = [("Add chords.\nX:1", "Done."), ("Thanks.", "Human: you are welcome.")]
    text = "".join(format_question(question) + format_answer(answer) for question, answer in turns)
    assert [text[start:end] for start, end in answer_spans(text)] == [format_answer(answer) for _, answer in turns]
