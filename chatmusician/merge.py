"""Merge a LoRA adapter into its base model and write a Hugging Face folder.

python -m chatmusician.merge base=FOLDER adapter=FOLDER output=FOLDER
"""

import sys
from typing import Any

from chatmusician.config.entry import command
from chatmusician.generation.free_text import quote_overrides


@command("merge")
def main(cfg: Any) -> None:
    """Merge a LoRA adapter into its base model and write a Hugging Face folder.

    The output is checked by reloading it and comparing its logits with those of base and adapter.
    """
    from chatmusician.export.run import run

    run(cfg)


if __name__ == "__main__":
    sys.argv[1:] = quote_overrides(sys.argv[1:])
    main()
