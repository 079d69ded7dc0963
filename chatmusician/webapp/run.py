"""The demo command after its configuration was accepted: load, listen, serve, tidy up.

What can be refused is refused before the model is loaded: a missing package, a port that is taken, a host that is none.
"""

import ctypes
import importlib.util
import ipaddress
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatmusician.errors import UserError
from chatmusician.generation.backends.backend import BASE
from chatmusician.generation.decoding import Decoding
from chatmusician.generation.loading import (
    ONLY_ADAPTER,
    check_sources,
    load_as_configured,
    model_or_newest,
    read_adapters,
)
from chatmusician.webapp.server import address_of, listen, make_app, run_folder, serve

if TYPE_CHECKING:
    from chatmusician.generation.service import Service

QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
"""Nobody is told that the demo runs; read by libraries as they are imported."""
MMAP_THRESHOLD = -3
"""What mallopt calls the size from which on a block is the system's own."""
OTHER_EVENTS = 256
"""Events besides questions (drawings, choices, uploads) that are kept at most."""


def run(cfg: Any) -> None:
    """Do what the configuration of the demo command says, until it is interrupted.

    Args:
        cfg: the composed configuration, see conf/demo.yaml.

    Raises:
        UserError: something the user can mend.
    """
    from hydra.utils import instantiate

    if importlib.util.find_spec("gradio") is None:
        raise UserError("the demo needs gradio, which is not installed: pip install 'chatmusician[demo]'")
    os.environ.update(QUIET)
    _give_back_large_blocks()
    decoding: Decoding = instantiate(cfg.generation)
    first = model_or_newest(cfg.model)
    models = _named([first, *map(str, cfg.models)])
    settings = {path: cfg if path == first else _alone(cfg) for path in models.values()}
    for path, its in settings.items():
        adapters = read_adapters(its.adapters)
        check_sources(model=path, adapter=its.adapter, adapters=adapters, tokenizer=its.tokenizer)
    with listen(cfg.host, cfg.port) as listening, run_folder() as folder:
        services = {name: _service(settings[path], path) for name, path in models.items()}
        _serve(cfg, services, decoding, folder, listening)


def _give_back_large_blocks() -> None:
    """Have glibc return what is larger than a mebibyte to the system when it is freed, as other systems do.

    It would otherwise keep, for each of many threads, as much as the sounds that the thread has once held.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:  # another C library has none
            mallopt(MMAP_THRESHOLD, 2**20)


def _named(models: Sequence[str]) -> dict[str, str]:
    """What the page calls each model: its folder, or the run that the folder is of. Not its path on this machine."""
    named: dict[str, str] = {}
    for model in dict.fromkeys(models):
        path = Path(model)
        name = path.resolve().parent.name if path.name == "model" else path.name
        number = sum(taken.rpartition(" (")[0] == name or taken == name for taken in named)
        named[f"{name} ({number + 1})" if number else name] = model
    return named


def _service(cfg: Any, model: str) -> "Service":
    from chatmusician.generation.service import Service

    generator = load_as_configured(cfg, model, batch_size=cfg.live)
    return Service(generator, slots=cfg.live, queue=cfg.waiting, each=cfg.each)


def _alone(cfg: Any) -> Any:
    """The configuration for a model beside the first, whose adapters and tokenizer are not its own."""
    from omegaconf import OmegaConf

    return OmegaConf.merge(cfg, {"adapter": None, "adapters": [], "tokenizer": None})


def _first_adapter(cfg: Any) -> str:
    """The name of the adapter to begin with."""
    if cfg.adapter is None:
        return BASE
    return cfg.adapter if cfg.adapter in read_adapters(cfg.adapters) else ONLY_ADAPTER


def _serve(cfg: Any, services: dict[str, "Service"], decoding: Decoding, folder: Path, listening: Any) -> None:
    from chatmusician.webapp.desk import Desk
    from chatmusician.webapp.guests import Guests
    from chatmusician.webapp.page import Page
    from chatmusician.webapp.shelf import Shelf

    desk = Desk(
        services=services,
        shelf=Shelf(folder / "tunes", at_once=cfg.drawing, minutes=cfg.drawn_minutes, mebibytes=cfg.drawn_mebibytes),
        guests=Guests(requests_per_minute=cfg.requests_per_minute),
        question_characters=cfg.question_characters,
    )
    most_events = (cfg.live + cfg.waiting) * len(services) + OTHER_EVENTS
    page = Page(
        desk=desk,
        decoding=decoding,
        adapter=_first_adapter(cfg),
        uploads=folder / "uploads",
        most_events=most_events,
    )
    loopback = ipaddress.ip_address(listening.getsockname()[0]).is_loopback
    app = make_app(desk, page, loopback=loopback)
    print(f"{address_of(listening)} (Ctrl-C ends it)", flush=True)
    try:
        serve(app, listening)
    finally:
        desk.close()
