"""Which pixels the object covers, for data that is drawn here and therefore known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepcompress import registry
from deepcompress.data.store import stratified
from deepcompress.errors import UserError
from deepcompress.runtime import derived_seed

if TYPE_CHECKING:
    from jaxtyping import Bool, Int

    from deepcompress.data.store import DataConfig, Fit


def of_validation(
    data: DataConfig, fit: Fit, wanted: Int[np.ndarray, " images"], *, size: int, seed: int
) -> Bool[np.ndarray, "images size size"] | None:
    """Masks of some validation images; None where the source cannot draw them.

    The images are drawn again to find out which ones they are, and compared with the stored ones.

    Args:
        data: The `data` section.
        fit: What the download stage made of it.
        wanted: Rows of the validation images.
        size: Side of the masks [px].
        seed: Of the pipeline.

    Raises:
        UserError: If the stored images are not those of this section and seed.
    """
    source = registry.find(data.plugins, data.source, "data.source")
    if not hasattr(source, "draw"):
        return None
    labels = np.arange(len(fit.train) + len(fit.validation), dtype=np.int64) % len(source.CLASSES)
    _, rows = stratified(labels, data.validation_fraction, derived_seed(seed, "validation"))
    drawn = [source.draw(int(rows[i]), split="train", size=data.stored_size, seed=seed) for i in wanted]
    if not all(np.array_equal(image, fit.validation.images[i]) for (image, _), i in zip(drawn, wanted, strict=True)):
        raise UserError("the validation images are not those that params.yaml draws; run the download stage again")
    nearest = np.arange(size) * data.stored_size // size
    return np.stack([mask[nearest][:, nearest] for _, mask in drawn])
