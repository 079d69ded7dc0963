"""Prepare data ahead of training: tokenise, pack and write shards.

python -m chatmusician.prepare +experiment=nano_pretrain
"""

from typing import Any

from chatmusician.config.entry import command


@command("prepare")
def main(cfg: Any) -> None:
    """Tokenise and pack a corpus into shards; a recipe's data are prepared with +experiment=NAME."""
    import json

    from hydra.utils import instantiate

    datamodule = instantiate(cfg.data)
    datamodule.prepare_data()
    datamodule.setup()
    print(json.dumps(datamodule.manifest()["summary"], indent=1, ensure_ascii=False))
    print(f"prepared: {datamodule.directory}")


if __name__ == "__main__":
    main()
