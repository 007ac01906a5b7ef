"""Made-up tables in the layout that the stages write, to try the report without training anything."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from deepcompress.measure.statistics import wilson_interval
from deepcompress.report.tables import Paths

IMAGES = 1000
BASELINE_BYTES = 9_800_000
# Model id -> (right answers of 1000, times smaller than the baseline).
BASELINE = {"baseline": (873, 1.0)}
EVERY_FAMILY = BASELINE | {
    "pruned/structured-0.25": (866, 1.7),
    "pruned/structured-0.5": (842, 3.4),
    "pruned/unstructured-0.0": (875, 1.0),
    "pruned/unstructured-0.25": (874, 1.28),
    "pruned/unstructured-0.75": (839, 3.6),
    "quantized/ptq-bf16": (873, 2.0),
    "quantized/ptq-fp16": (873, 2.0),
    "quantized/ptq-int4": (798, 7.6),
    "quantized/ptq-int8": (871, 3.9),
    "quantized/qat-int4": (862, 7.6),
    "quantized/qat-int8": (877, 3.9),
    "teachers/vgg16": (902, 0.61),
    "teachers/vgg19": (899, 0.52),
    "students/crd-vgg16": (858, 4.0),
    "students/dkd-vgg16": (868, 4.0),
    "students/hint-vgg16": (861, 4.0),
    "students/independent": (851, 4.0),
    "students/logit-vgg16": (863, 4.0),
    "combined/prune_distill_quantize": (856, 24.0),
    "combined/prune_quantize": (865, 6.6),
    "sculpted/marble-3": (700, 11.0),
}
CLASSES = tuple(f"{shape}_{texture}" for shape in ("circle", "square", "star", "cross", "ring", "heart")
                for texture in ("plain", "stripes", "dots", "checks"))  # fmt: skip
PARAMS = {
    "seed": 0,
    "data": {"source": "shapes", "stored_size": 32},
    "model": {"arch": "vgg11", "batch_norm": True, "width": 0.25, "image_size": 32, "weights": None},
    "finetune": {
        "trainable": "all",
        "epochs": 12,
        "batch_size": 128,
        "optimizer": "adamw",
        "learning_rate": 0.004,
        "weight_decay": 0.05,
    },
}
META = {
    "classes": CLASSES,
    "image_size": 32,
    "counts": {"train": 4320, "validation": 480},
    "source": "shapes",
    "checksum": "1f2e3d4c",
}


def write(folder: Path, models: dict[str, tuple[int, float]] = EVERY_FAMILY, classes: int = len(CLASSES)) -> Paths:
    """Write all tables for some models below `folder` and say where they lie."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [CLASSES[i] if i < len(CLASSES) else f"class_{i}" for i in range(classes)]
    paths = Paths(
        evaluation=folder / "evaluation.csv",
        per_class=folder / "per_class.csv",
        headline=folder / "headline.json",
        params=folder / "params.yaml",
        history=folder / "history",
        meta=folder / "meta.json",
    )
    evaluation(models).to_csv(paths.evaluation, index=False)
    per_class(models, names).to_csv(paths.per_class, index=False)
    paths.headline.write_text(json.dumps({"heldout": {"n_images": IMAGES}, "baseline": {"top1_pct": 87.3}}))
    paths.params.write_text(yaml.safe_dump(PARAMS))
    (folder / "meta.json").write_text(json.dumps(META))
    for model, (right, _) in models.items():
        if not model.startswith("quantized/ptq"):
            file = folder / "history" / f"{model}.csv"
            file.parent.mkdir(parents=True, exist_ok=True)
            history(right / 10).to_csv(file, index=False)
    return paths


def evaluation(models: dict[str, tuple[int, float]]) -> pd.DataFrame:
    """One row per model, the paired columns empty for the baseline."""
    rows = []
    for model, (right, smaller) in models.items():
        low, high = (100 * bound for bound in wilson_interval(right, IMAGES))
        points = (right - models["baseline"][0]) / 10
        compared = model != "baseline"
        rows.append(
            {
                "model": model, "top1_pct": right / 10, "top1_pct_low": low, "top1_pct_high": high,
                "top5_pct": 98.0, "n": IMAGES, "cross_entropy_loss": 0.41, "calibration_error_pct": 3.2,
                "difference_points": points if compared else None,
                "difference_points_low": points - 1.1 if compared else None,
                "difference_points_high": points + 1.1 if compared else None,
                "mcnemar_p": min(1.0, 2.0 ** -abs(points * 3)) if compared else None,
                "parameters": int(2.4e6 / min(smaller, 4)), "nonzero_weights": int(2.3e6 / min(smaller, 4)),
                "macs": int(9.7e6 / min(smaller, 4)), "size_bytes": int(BASELINE_BYTES / smaller),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def per_class(models: dict[str, tuple[int, float]], classes: list[str]) -> pd.DataFrame:
    """A row per model and class, spread around the model's accuracy."""
    random = np.random.default_rng(0)
    n = IMAGES // len(classes)
    rows = []
    for model, (right, _) in models.items():
        shares = np.clip(right / IMAGES + random.normal(0, 0.08, len(classes)), 0, 1)
        rows += [(model, name, n, 100 * round(s * n) / n) for name, s in zip(classes, shares, strict=True)]
    return pd.DataFrame(rows, columns=["model", "class", "n", "top1_pct"])


def history(end_pct: float, epochs: int = 12) -> pd.DataFrame:
    """Twelve epochs that rise to an accuracy."""
    epoch = np.arange(1, epochs + 1)
    rise = 1 - np.exp(-epoch / 3)
    return pd.DataFrame(
        {
            "epoch": epoch,
            "train_loss": 3 * (1 - rise) + 0.2,
            "learning_rate": 0.004 * np.sin(np.pi * epoch / (epochs + 1)),
            "validation_top1_pct": end_pct * rise / rise[-1],
            "validation_loss": 3 * (1 - rise) + 0.4,
        }
    )
