"""Where the configs are: inside the installed package, or beside it in a checkout.

The wheel carries ``conf/`` and ``experiments/`` as ``chatmusician/_conf`` and ``chatmusician/_experiments`` (see
``force-include`` in pyproject.toml); a checkout and an editable install have them next to the package.
"""

from pathlib import Path

from chatmusician.errors import UserError

_PACKAGE = Path(__file__).resolve().parents[1]


def conf_dir() -> Path:
    """The folder of primary configs and groups. Raises UserError if the installation lacks it."""
    return _find("_conf", "conf")


def experiments_dir() -> Path:
    """The folder of recipes, one YAML file each. Raises UserError if the installation lacks it."""
    return _find("_experiments", "experiments")


def _find(packaged: str, in_checkout: str) -> Path:
    candidates = (_PACKAGE / packaged, _PACKAGE.parent / in_checkout)
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    tried = " nor ".join(str(candidate) for candidate in candidates)
    raise UserError(f"neither {tried} is a folder: the installation is incomplete, install chatmusician again")
