"""A checkpoint as a .pte file that was held to its model on validation images before it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcompress import files
from deepcompress.data.batches import Batches
from deepcompress.data.store import open_fit, sampled
from deepcompress.deploy import parity, pte
from deepcompress.deploy.contract import Contract
from deepcompress.deploy.pixels import channels_first
from deepcompress.deploy.pte_session import PteClassifier, require_executorch
from deepcompress.errors import UserError
from deepcompress.measure import accuracy
from deepcompress.models import checkpoint

if TYPE_CHECKING:
    from deepcompress.deploy.settings import Deploy

BATCH = 256


def convert(model: Path, fit: Path, out: Path, settings: Deploy, *, integers: bool, seed: int) -> dict[str, Any]:
    """Write a model as .pte, or leave `out` as it was if the file does not answer as the model does.

    Args:
        model: Its checkpoint.
        fit: Folder of training images, which integers are calibrated on, and of validation images to compare on.
        out: The file to write.
        settings: How far the file may stray, and how many images to calibrate on.
        integers: Whether it computes in 8-bit integers.
        seed: Decides which training images are taken.

    Returns:
        How closely the file follows its model, as `Parity.row`, and `size_bytes`.

    Raises:
        UserError: If ExecuTorch or an input is missing, the images have other classes than the model, or the file
            answers other than the model more often than `settings` allow.
    """
    require_executorch()
    loaded, data = checkpoint.load(model), open_fit(fit)
    if tuple(loaded.classes) != tuple(data.meta.classes):
        raise UserError(f"{model} was made for other classes than the images of {fit} have")
    calibration = None
    if integers:
        drawn = sampled(data.train, settings.calibration_samples, seed)
        calibration = channels_first(drawn.images, loaded.view.size)
    contract = Contract(tuple(loaded.classes), loaded.view.size, data.meta.image_size)
    logits = accuracy.logits(loaded.model, Batches(data.validation, loaded.view, batch_size=BATCH))[0]
    least = settings.integer_agreement_pct if integers else settings.float_agreement_pct
    key = f"deploy.{'integer' if integers else 'float'}_agreement_pct"
    with files.atomic(out) as partial:
        pte.export_pte(loaded.model, partial, view=loaded.view, contract=contract, calibration=calibration)
        found = parity.compared(PteClassifier(partial), logits, data.validation)
        parity.require(found, least, name=str(out), key=key, images="validation images")
        return {**found.row(), "size_bytes": partial.stat().st_size}
