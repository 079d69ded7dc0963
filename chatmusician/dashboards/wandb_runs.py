"""What a run in Weights & Biases is to be: online or on disk, new or the one its folder had, alone or in a group."""

import netrc
import os
from pathlib import Path
from secrets import token_hex
from urllib.parse import urlsplit

RUN_ID = "wandb/run-id.txt"
"""Where a run's folder keeps the id that it has in Weights & Biases."""
HOST_BEFORE = "api.wandb.ai"
"""The service's name in files that an earlier ``wandb login`` wrote; wandb takes a key under it too."""


def chosen_mode(mode: str) -> str:
    """What ``auto`` means here and now: what the environment or wandb's settings say, else whether there is a key."""
    if mode != "auto":
        return mode
    import wandb

    settings = wandb.setup().settings
    if os.environ.get("WANDB_MODE") or settings.mode != "online":
        return {"dryrun": "offline", "run": "online"}.get(settings.mode, settings.mode)
    return "online" if settings.api_key or settings.identity_token_file or _in_netrc(settings.base_url) else "offline"


def _in_netrc(url: str) -> bool:
    """Whether the file that ``wandb login`` writes has a key for a server."""
    named = os.environ.get("NETRC")
    files = [Path(named)] if named else [Path.home() / ".netrc", Path.home() / "_netrc"]
    for file in files:
        try:
            known = netrc.netrc(file).hosts
        except (OSError, netrc.NetrcParseError):
            continue
        if known.keys() & {urlsplit(url).netloc, HOST_BEFORE}:
            return True
    return False


def run_id(folder: Path, *, resumes: bool) -> str:
    """The id of a folder's run: the one it has where training goes on, else a new one, which the folder keeps."""
    path = folder / RUN_ID
    if resumes and path.is_file():
        return path.read_text().strip()
    found = token_hex(4)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(found + "\n")
    return found


def sweep_name(folder: Path) -> str | None:
    """What the jobs of a sweep are grouped under, the last two parts of its folder; None for a run that is alone."""
    from omegaconf import OmegaConf

    job = folder / ".hydra" / "hydra.yaml"  # written before a job begins, whatever launches it
    if not job.is_file() or OmegaConf.load(job).hydra.mode != "MULTIRUN":
        return None
    return "/".join(folder.absolute().parent.parts[-2:])
