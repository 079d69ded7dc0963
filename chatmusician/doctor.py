"""What this machine has, what is missing and how to mend it, and whether a recipe fits here.

python -m chatmusician.doctor +experiment=sft_78k
"""

from typing import Any

from chatmusician.config.entry import command


@command("doctor")
def main(cfg: Any) -> None:
    """Look at this machine; with a recipe or any option of training, tell whether that run fits here.

    The status is 0 where the basics work and the run fits, else 1.
    """
    from hydra.core.hydra_config import HydraConfig

    from chatmusician.diagnosis.command import run

    run(cfg, asked=list(HydraConfig.get().overrides.task), output=cfg.output, as_text=not cfg.json)


if __name__ == "__main__":
    main()
