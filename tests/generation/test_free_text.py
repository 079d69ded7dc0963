import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from chatmusician.generation.free_text import quote_overrides


@pytest.mark.parametrize(
    "text",
    [
        "Compose a reel, in D major",
        "X:1\nL:1/8\nK:D\n|: d2fd [DF]2 {g}a :|",
        "it's",
        'say "hello"',
        "C:\\tunes\\",
        "\\'",
        "a\\\\'b\\\\",
        "${oc.env:HOME} and \\${x}",
        "epoch=3,step=(4)",
        "'a' and 'b'",
        "true",
        "12",
        "   ",
        "曲",
    ],
)
def test_what_was_typed_is_what_arrives(text: str) -> None:
    (argument,) = quote_overrides([f"prompt={text}"])
    (override,) = OverridesParser.create().parse_overrides([argument])
    config = OmegaConf.create({"prompt": None})
    OmegaConf.update(config, "prompt", override.value())
    assert config.prompt == text


@pytest.mark.parametrize(
    "argument", ["prompt=", "prompt=null", "prompt='a, b'", 'prompt="it\'s"', "seed=1", "-m", "--help"]
)
def test_what_hydra_reads_rightly_is_left_alone(argument: str) -> None:
    assert quote_overrides([argument]) == [argument]


def test_a_command_may_have_text_options_of_its_own() -> None:
    arguments = ["inspect=a=1,b", "tokenizer=nano,of_model"]
    assert quote_overrides(arguments, options=("inspect",)) == ["inspect='a=1,b'", "tokenizer=nano,of_model"]
