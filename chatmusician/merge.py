"""Make an adapter, a training checkpoint or a model ready to use.

python -m chatmusician.merge adapter=FOLDER output=FOLDER
"""

import sys
from typing import Any

from chatmusician.config.entry import command
from chatmusician.generation.free_text import quote_overrides


@command("merge")
def main(cfg: Any) -> None:
    """Merge an adapter, or what a checkpoint holds, into its base: a Hugging Face folder, and a GGUF file if wanted.

    What was merged is checked by reloading it and comparing its logits with those of base and adapter.
    """
    from chatmusician.exporting import run

    run(cfg)


if __name__ == "__main__":
    sys.argv[1:] = quote_overrides(sys.argv[1:])
    main()
