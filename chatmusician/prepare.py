"""Prepare data ahead of training: tokenise, pack and write shards.

python -m chatmusician.prepare +experiment=nano_pretrain
python -m chatmusician.prepare inspect=outputs/data/nano_pretrain
"""

import sys
from pathlib import Path
from typing import Any

from chatmusician.config.entry import command
from chatmusician.generation.free_text import quote_overrides


@command("prepare")
def main(cfg: Any) -> None:
    """Tokenise and pack a corpus into shards; a recipe's data are prepared with +experiment=NAME.

    With inspect=FOLDER look at what was prepared: documents as the model will see them, and a report of the whole.
    """
    if cfg.inspect is not None:
        from hydra.core.hydra_config import HydraConfig

        from chatmusician.data.inspection.command import inspect

        inspect(
            directory=Path(cfg.inspect),
            split=cfg.split,
            first_row=cfg.first_row,
            rows=cfg.rows,
            output=Path(HydraConfig.get().runtime.output_dir),
        )
        return
    import json

    from hydra.utils import instantiate

    datamodule = instantiate(cfg.data)
    datamodule.prepare_data()
    datamodule.setup()
    print(json.dumps(datamodule.manifest()["summary"], indent=1, ensure_ascii=False))
    print(f"prepared: {datamodule.directory}")


if __name__ == "__main__":
    sys.argv[1:] = quote_overrides(sys.argv[1:], options=("inspect",))
    main()
