"""Publishing a model folder on the Hugging Face Hub: what would be sent first, and only when asked for the sending."""

import re
from pathlib import Path

from chatmusician.errors import UserError
from chatmusician.export.folders import HUB_ID, check_model_folder


def upload_folder(folder: Path, repository: str, *, dry_run: bool, private: bool) -> list[str]:
    """Send a model folder to a repository of the Hub, made where it is missing, or say what would be sent.

    The token is that of ``hf auth login`` or of the environment variable ``HF_TOKEN``.

    Args:
        folder: a model folder.
        repository: ``owner/name``.
        dry_run: send nothing.
        private: a repository that is made is seen by its owner only.

    Returns:
        Lines that say what was, or would be, done.

    Raises:
        UserError: the name is none, there is no token, or the Hub refuses or cannot be reached.
    """
    if not re.fullmatch(HUB_ID, repository):
        raise UserError(f"upload={repository} is not a repository of the Hub: write it as owner/name")
    check_model_folder(folder, option="upload from")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    lines = [f"  {path.relative_to(folder)}  {path.stat().st_size:,} bytes" for path in files]
    if dry_run:
        state = "private " if private else "public "
        head = f"dry run: would send {len(files)} files, {size / 1e9:.3f} GB, to the {state}repository {repository}"
        return [head, *lines, "give dry_run=false to send them"]
    return [f"sent {len(files)} files, {size / 1e9:.3f} GB: {_send(folder, repository, private=private)}"]


def _send(folder: Path, repository: str, *, private: bool) -> str:
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

    if get_token() is None:
        raise UserError(f"upload={repository} needs a token: run `hf auth login`, or set HF_TOKEN")
    api = HfApi()
    try:
        api.create_repo(repository, exist_ok=True, private=private)
        return str(api.upload_folder(repo_id=repository, folder_path=folder).commit_url)
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no status"
        raise UserError(f"upload={repository} was refused ({status}): check that the token may write there") from error
    except (OfflineModeIsEnabled, HTTPError, OSError) as error:
        raise UserError(
            f"upload={repository}: the Hub cannot be reached ({type(error).__name__}); what was sent stays, try again"
        ) from error
