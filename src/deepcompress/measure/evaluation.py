"""Every model of the plan on the held-out images: the rows of its tables, computed from logits each time."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from deepcompress.data.heldout import open_heldout
from deepcompress.measure import passes
from deepcompress.measure.rows import Answers, evaluation_row, pair_row, per_class_rows
from deepcompress.params import DEVICE_BUDGET_MIB
from deepcompress.plan_table import BASELINE

if TYPE_CHECKING:
    import torch

    from deepcompress.measure.rows import Row
    from deepcompress.measure.settings import Evaluate

log = logging.getLogger(__name__)
STAGE = "evaluate"


def evaluate(
    models: dict[str, Path],
    pairs: list[tuple[str, str]],
    heldout_folder: Path,
    settings: Evaluate,
    device: torch.device,
    budget_mib: int = DEVICE_BUDGET_MIB,
) -> dict[str, list[Row]]:
    """Measure every model.

    Args:
        models: The file of each model id, the baseline first.
        pairs: Of a model and the one that it is to be compared with besides the baseline.
        heldout_folder: Of the held-out images.
        settings: The `evaluate` section.
        device: Where models run.
        budget_mib: See `store.Arrays`.

    Returns:
        The rows of each table: `evaluation`, `per_class` and `pairs`.

    Raises:
        UserError: If a model file is damaged, or made for other classes than the data has.
    """
    images = _heldout(heldout_folder, budget_mib)
    labels, found = images.labels, dict[str, Answers]()
    rows: list[Row] = []
    per_class: list[Row] = []
    for model, path in tqdm(models.items(), desc="evaluate", unit="model", disable=None):
        answers = passes.answers(path, images, STAGE, batch_size=settings.batch_size, device=device)
        bins, baseline = settings.calibration_bins, found.get(BASELINE)
        rows.append(evaluation_row(model, answers, labels, baseline=baseline, calibration_bins=bins))
        per_class += per_class_rows(model, answers, labels, images.classes)
        found[model] = answers
        log.info("%s: %.2f %% top-1 of %d held-out images", model, rows[-1]["top1_pct"], len(labels))
    paired = [pair_row(one, other, found[one], found[other], labels) for one, other in pairs]
    return {"evaluation": rows, "per_class": per_class, "pairs": paired}


def _heldout(folder: Path, budget_mib: int) -> passes.Images:
    opened = open_heldout(folder, budget_mib)
    return passes.Images("held-out data", opened.arrays, opened.meta.classes, passes.digest(folder.iterdir()))
