"""Run several commands one after another as one job, such as everything from folk tunes to a new tune.

python -m chatmusician.pipeline +experiment=quickstart
"""

from typing import Any

from chatmusician.config.entry import command


@command("pipeline")
def main(cfg: Any) -> None:
    """Run the stages of a recipe in order; stages that finished before are not run again."""
    from hydra.utils import call

    call(cfg.pipeline)


if __name__ == "__main__":
    main()
