import pytest

from chatmusician.music.extraction import extract_tune

TUNE = "X:1\nT:Cooley's\nM:4/4\nL:1/8\nK:Em\n|:D2|EBBA B2EB|B2AB dBAG:|"


@pytest.mark.parametrize(
    "answer",
    [
        TUNE,
        f"Certainly! Here is a reel in E minor:\n\n{TUNE}\n\nIt has one section. Enjoy | play it twice!",
        f"Here it is:\n```abc\n{TUNE}\n```\nHave fun playing it.",
        f"Here it is:\n{TUNE}\nI hope that you enjoy playing this lively tune.",
        "\n".join("  " + line for line in TUNE.splitlines()),
        f"{TUNE}\n\n{TUNE.replace('X:1', 'X:2')}",
        TUNE.replace("\n", "\r\n"),
    ],
)
def test_the_tune_is_found(answer: str) -> None:
    extraction = extract_tune(answer)
    assert (extraction.abc, extraction.repairs, extraction.reason) == (TUNE, (), None)


def test_text_before_x_on_its_line() -> None:
    extraction = extract_tune(f"Assistant: {TUNE}")
    assert extraction.abc == TUNE
    assert extraction.repairs == ("removed the text before X: on its line",)


def test_a_missing_x_is_supplied() -> None:
    extraction = extract_tune("A tune for you:\n" + TUNE.removeprefix("X:1\n"))
    assert extraction.abc == TUNE
    assert extraction.repairs == ("supplied the missing X: line",)


def test_an_empty_line_inside_is_removed() -> None:
    extraction = extract_tune(TUNE.replace("K:Em\n", "K:Em\n\n") + "\n\nThe end.")
    assert extraction.abc == TUNE
    assert extraction.repairs == ("removed an empty line inside the tune",)


def test_texts_lyrics_and_odd_characters_are_not_prose() -> None:
    tune = 'X:1\nK:C\n"Slowly and with much feeling"\n% as sung here\nC2 D2|E# F|\nw:how I won-der\nG4|'
    assert extract_tune(f"{tune}\n\nThat was it.").abc == tune


def test_a_wrong_tune_stays_wrong() -> None:
    assert extract_tune("X:1\nT:No key\nCDEF|").abc == "X:1\nT:No key\nCDEF|"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "the answer is empty"),
        (" \n ", "the answer is empty"),
        ("I cannot write music. Q: why? A: no reason.", "neither an X: line nor a K: line with music after it"),
        ("K:G\nis the key of this piece.", "a K: line but no line of music with bar lines after it"),
    ],
)
def test_no_tune(answer: str, reason: str) -> None:
    extraction = extract_tune(answer)
    assert extraction.abc is None
    assert extraction.reason is not None
    assert reason in extraction.reason
