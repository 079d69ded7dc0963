"""Generate music and answers: one prompt, a file of prompts, or a conversation.

python -m chatmusician.generate model=PATH prompt="Compose a reel in D major." render=true
"""

import sys
from pathlib import Path
from typing import Any

from chatmusician.config.entry import command
from chatmusician.generation.free_text import quote_overrides


@command("generate")
def main(cfg: Any) -> None:
    """Generate music and answers from a trained model.

    With prompt=TEXT one answer, with prompts=FILE an answer to each, with neither a conversation on standard input.
    """
    from hydra.core.hydra_config import HydraConfig

    from chatmusician.generation.run import run

    run(cfg, output_dir=Path(HydraConfig.get().runtime.output_dir))


if __name__ == "__main__":
    sys.argv[1:] = quote_overrides(sys.argv[1:])
    main()
