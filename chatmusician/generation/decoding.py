"""How tokens are chosen: the settings of one generation, validated where they are made.

Light on purpose (no torch): the configuration names this class and is checked before anything heavy is imported.
"""

from dataclasses import asdict, dataclass

from chatmusician.errors import UserError

CONSTRAINTS = ("none", "syntax", "bars")


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """Settings of one generation; the defaults are the paper's.

    Raises `UserError` at construction for a value outside its range, naming the setting, the value and the range.
    """

    temperature: float = 0.2
    """Logits are divided by this before sampling; 0 is greedy decoding (top_k, top_p and seed then have no effect)."""
    top_k: int = 40
    """Only this many most likely tokens may be drawn; 0 for no limit."""
    top_p: float = 0.9
    """Only the smallest set of most likely tokens with at least this total probability may be drawn; 1 for all."""
    repetition_penalty: float = 1.1
    """Logits of tokens in the prompt or the answer are divided (if positive) or multiplied by this; 1 for none."""
    min_new_tokens: int = 10
    """The end of the answer may not be drawn before this many tokens."""
    max_new_tokens: int = 1536
    """The answer is cut after this many tokens, or where the model's context window ends."""
    constraint: str = "none"
    """What a tune must be: ``none`` for anything, ``syntax`` for ABC that parses, ``bars`` for bars that add up too."""
    seed: int = 1234
    """Row i of a generation draws from a stream that depends on (seed, i) only, whatever the batch."""

    def __post_init__(self) -> None:
        """Refuse what no decoding can mean."""
        rules = (
            ("temperature", self.temperature >= 0, "0 (greedy) or more"),
            ("top_k", self.top_k >= 0, "0 (no limit) or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("repetition_penalty", self.repetition_penalty > 0, "above 0 (1 for none)"),
            ("min_new_tokens", self.min_new_tokens >= 0, "0 or more"),
            ("max_new_tokens", self.max_new_tokens >= 1, "1 or more"),
            (
                "min_new_tokens",
                self.min_new_tokens <= self.max_new_tokens,
                f"at most max_new_tokens ({self.max_new_tokens})",
            ),
            ("seed", 0 <= self.seed < 2**63, "between 0 and 2**63 - 1"),
        )
        for name, holds, allowed in rules:
            if not holds:
                raise UserError(f"generation.{name}={getattr(self, name)} is out of range: it must be {allowed}")
        if self.constraint not in CONSTRAINTS:
            raise UserError(
                f"generation.constraint={self.constraint} is unknown: choose one of {', '.join(CONSTRAINTS)}"
            )

    def for_transformers(self) -> dict[str, float]:
        """The settings that transformers has too, by its names: the content of a generation_config.json."""
        return {name: value for name, value in asdict(self).items() if name not in ("constraint", "seed")}

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is always taken."""
        return self.temperature == 0
