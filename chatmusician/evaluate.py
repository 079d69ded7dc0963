"""Evaluate a model: compose tunes from held-out prompts and measure them.

python -m chatmusician.evaluate model=PATH
"""

from typing import Any

from chatmusician.config.entry import command


@command("evaluate")
def main(cfg: Any) -> None:
    """Compose tunes from held-out prompts, measure them, and compute the bits per byte of held-out tunes."""
    from chatmusician.evaluation.run import run

    run(cfg)


if __name__ == "__main__":
    main()
