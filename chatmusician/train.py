"""Train a model: pretraining and fine-tuning, on one device or many.

python -m chatmusician.train +experiment=sft_78k
"""

from typing import Any

from chatmusician.config.entry import command
from chatmusician.requirements import required_processes


@command("train", processes=required_processes)
def main(cfg: Any) -> float | None:
    """Train a model; recipes are chosen with +experiment=NAME."""
    from chatmusician.training import run

    return run(cfg)


if __name__ == "__main__":
    main()
