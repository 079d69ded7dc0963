"""The demo in the browser: a streamed chat, tunes as score and sound, forms for the tasks.

python -m chatmusician.demo model=PATH
"""

import sys
from typing import Any

from chatmusician.config.entry import command
from chatmusician.generation.free_text import quote_overrides


@command("demo")
def main(cfg: Any) -> None:
    """Serve the demo: ask a model for tunes in the browser, see and hear them, change them.

    Ctrl-C ends it. It listens on this machine's own address only, unless host= says otherwise.
    """
    from chatmusician.webapp.run import run

    run(cfg)


if __name__ == "__main__":
    sys.argv[1:] = quote_overrides(sys.argv[1:])
    main()
