"""A run in TensorBoard."""

import logging
from importlib.util import find_spec
from typing import TYPE_CHECKING

from chatmusician.errors import UserError

if TYPE_CHECKING:
    from lightning.pytorch.loggers.tensorboard import TensorBoardLogger

log = logging.getLogger(__name__)


def tensorboard(*, save_dir: str, required: bool) -> "TensorBoardLogger | None":
    """Lightning's logger, which writes to ``save_dir/tensorboard``.

    Without ``required``, None and a line where TensorBoard is not installed: other loggers do without it.

    Raises:
        UserError: it is required and not installed.
    """
    remedy = "TensorBoard is not installed: pip install 'chatmusician[dashboards]'"
    if find_spec("tensorboard") is None:
        if required:
            raise UserError(remedy)
        log.info("%s, to have it beside the other loggers", remedy)
        return None
    from lightning.pytorch.loggers.tensorboard import TensorBoardLogger

    return TensorBoardLogger(save_dir, name="tensorboard", version="")
