"""Measure the models that may be handed over: right answers on validation images, bytes, MACs and, if asked, time."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from deepcompress.data import store
from deepcompress.deploy.candidate import BASELINE, Candidate
from deepcompress.measure import accuracy, latency, passes
from deepcompress.measure.statistics import paired_bootstrap
from deepcompress.models import checkpoint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np

log = logging.getLogger(__name__)
STAGE = "recommend"
NEVER = ("teachers/", "masked/")  # larger than the baseline by intent; a step on the way to pruned/


def measure(
    models: Mapping[str, Path], folder: Path, *, batch_size: int, device: torch.device, timed: bool, budget_mib: int
) -> list[Candidate]:
    """Run every model that may be handed over on the validation images.

    Args:
        models: The file of each model id; teachers and masked models are left out.
        folder: Of training and validation images; only the latter are looked at.
        batch_size: Images per pass.
        device: Where models run.
        budget_mib: See `store.Arrays`.
        timed: Also time each model on one image: in PyTorch, in 32-bit floats, on the CPU.

    Raises:
        UserError: If a model file is damaged, or made for other classes than the data has.
    """
    fit = store.open_fit(folder, budget_mib)
    files = [folder / "meta.json", *folder.glob("validation_*")]
    images = passes.Images("validation data", fit.validation, fit.meta.classes, passes.digest(files))
    allowed = {model: path for model, path in models.items() if not model.startswith(NEVER)}
    found: list[Candidate] = []
    baseline: np.ndarray | None = None  # comes first
    for model, path in sorted(allowed.items(), key=lambda item: item[0] != BASELINE):
        measured = passes.measured(path, images, STAGE, batch_size=batch_size, device=device)
        right = accuracy.top_k_correct(measured.logits, images.labels, 1).numpy()
        lost = None if baseline is None else _rounded(paired_bootstrap(baseline, right))
        baseline = right if baseline is None else baseline
        time = _latency_ms(path) if timed else None
        one = Candidate(model, int(right.sum()), len(right), measured.size_bytes, measured.macs, time, lost)
        log.info("%s: %.2f %% top-1 of %d validation images", model, one.top1_pct, one.n)
        found.append(one)
    return found


def _rounded(interval: tuple[float, float]) -> tuple[float, float]:
    low, high = (round(end, 2) + 0.0 for end in interval)
    return low, high


def _latency_ms(path: Path) -> float:
    """Median time of one image; a model at a time, so that no two large ones share the memory."""
    loaded = checkpoint.load(path)
    image = torch.zeros(1, 3, loaded.view.size, loaded.view.size)
    with torch.inference_mode():
        return latency.interleaved({path: lambda: loaded.model(image)})[path].median_ms
