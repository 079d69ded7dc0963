"""Which tokens may come next, for a byte-level vocabulary and one of LLaMA's kind."""

from collections.abc import Iterator

import pytest
from reading import may_end
from transformers import PreTrainedTokenizerBase

from chatmusician.data.tokenizers import train_bpe
from chatmusician.generation.constraint.answers import PLAIN_PROSE
from chatmusician.generation.constraint.choices import Choices, Situation
from chatmusician.generation.constraint.tunes import Body
from chatmusician.generation.constraint.vocabulary import Vocabulary, make_vocabulary, token_texts

TUNE = """X:1
T:Caf\N{LATIN SMALL LETTER E WITH ACUTE} noir
L:1/8
M:6/8
K:Dmix
A | d2e f>ga | (3fga f2 e2- | ec'A "Am7"[Ace]3 | d3 d2 :|
|: a | {g}f3 f3 | [M:9/8] !trill!e9 |1 d9 :|2 d8- |]

That was a jig: no more.
"""
LINES = [TUNE, "d2fd Adfd | e2ge Bege :|", "|: GABc d2 BG |1 A2 cA F4 :|2 (3fga g6 ||", "[K:G] z/ z2 ^f/g/ a>b"]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return train_bpe(LINES, vocab_size=330)


@pytest.fixture(scope="module", params=["byte-level", "llama"])
def either(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    names = {"byte-level": "tokenizer", "llama": "llama_tokenizer"}
    found: PreTrainedTokenizerBase = request.getfixturevalue(names[request.param])
    return found


def test_texts_of_tokens_make_up_the_text(either: PreTrainedTokenizerBase) -> None:
    texts = token_texts(either)
    ids = either("\n" + TUNE, add_special_tokens=False).input_ids
    joined = "".join(texts[token] or "?" for token in ids)
    assert joined.encode("latin-1").decode().lstrip(" ") == "\n" + TUNE
    assert texts[either.eos_token_id] is None
    assert len(texts) == len(either)


def situations(choices: Choices, vocabulary: Vocabulary, ids: list[int]) -> Iterator[Situation]:
    situation = choices.read("\n")
    for token in ids:
        yield situation
        assert situation.is_free or token in set(chosen(vocabulary, choices.tokens(situation)))
        situation = choices.follow(situation, token)
    yield situation


def chosen(vocabulary: Vocabulary, bits: int) -> list[int]:
    return sorted(token for place, token in enumerate(vocabulary.order) if bits >> place & 1)


@pytest.mark.parametrize("counted", [False, True], ids=["syntax", "bars"])
def test_the_walk_finds_what_single_steps_find(either: PreTrainedTokenizerBase, *, counted: bool) -> None:
    """Every token is held against the machine by itself, at each place of the tune (each eighth with 32,000)."""
    vocabulary = make_vocabulary(token_texts(either))
    choices = Choices(vocabulary, counted=counted)
    ids = either(TUNE, add_special_tokens=False).input_ids
    seen = 0
    for place, situation in enumerate(situations(choices, vocabulary, ids)):
        if situation.is_free or (len(vocabulary.order) > 1000 and place % 8):
            continue
        found = set(chosen(vocabulary, choices.tokens(situation)))
        for token in vocabulary.order:
            text = vocabulary.texts[token] or ""
            after = choices.grammar.steps(situation.state, text)
            if after is None:
                assert token not in found
            elif not text.isascii() and isinstance(situation.state, Body) and situation.state.moment.in_notation:
                assert token not in found  # such tokens begin no text
            elif not isinstance(after, Body) or after.moment.music.gap is None or after.moment.music.gap.is_right:
                assert token in found, (situation.state, text)
        assert set(chosen(vocabulary, choices.plain_tokens(situation))) <= found
        seen += 1
    assert seen > 10


def test_a_single_bar_line_is_no_start_of_a_double_one_where_there_are_tokens_for_that() -> None:
    short = "X:1\nL:1/8\nM:6/8\nK:D\nA|c6|c5"
    for borders in ((), ("||", "|]")):
        vocabulary = make_vocabulary(["|", "]", "c", *borders])
        choices = Choices(vocabulary, counted=True)
        texts = [vocabulary.texts[token] for token in chosen(vocabulary, choices.tokens(choices.read(short)))]
        assert texts == (["c", "||", "|]"] if borders else ["|", "c"])


def test_a_token_that_may_not_follow_makes_prose_of_the_rest() -> None:
    vocabulary = make_vocabulary(["c", ";", "|"])
    choices = Choices(vocabulary, counted=False)
    situation = choices.follow(choices.read("X:1\nK:D\nc"), 1)
    assert situation.state == PLAIN_PROSE
    assert situation.is_free


def test_the_same_situation_is_met_again() -> None:
    choices = Choices(make_vocabulary(["c", "|", " "]), counted=True)
    header = "X:1\nL:1/8\nM:2/4\nK:D\n"
    first = choices.read(header + "c4|c2d2|g3")
    assert first is choices.read(header + "c4|A2B2|c4|a3")
    assert first is not choices.read(header + "c4|c2d2|g2")
    assert not may_end(first.state)
    choices.clear()
    assert first is not choices.read(header + "c4|c2d2|g3")
