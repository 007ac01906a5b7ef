"""Made-up tables in the layout that the stages write, to try the report without training anything."""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from deepcompress.measure import verdict
from deepcompress.measure.cost import with_training_cost
from deepcompress.measure.statistics import wilson_interval
from deepcompress.measure.verdict import Estimate
from deepcompress.plan_table import FAMILIES, Plan
from deepcompress.report import estimates, tables
from deepcompress.report.tables import PAIR_COLUMNS, Paths, Tables
from tests import plans

Models = dict[str, tuple[int, float]]
Rows = dict[str, list[dict[str, Any]]]  # by name of the table, without suffix
IMAGES = 1000
TRAINING_IMAGES = 4320
BASELINE_BYTES = 9_800_000
# Model id -> (right answers of 1000, times smaller than the baseline).
BASELINE = {"baseline": (873, 1.0)}
EVERY_FAMILY = BASELINE | {
    "pruned/structured-0.25": (866, 1.7),
    "pruned/structured-0.5": (842, 3.4),
    "pruned/unstructured-0.0": (875, 1.0),
    "pruned/unstructured-0.25": (874, 1.28),
    "pruned/unstructured-0.75": (839, 3.6),
    "masked/structured-0.25": (341, 1.7),
    "masked/structured-0.5": (63, 3.4),
    "masked/unstructured-0.0": (873, 1.0),
    "masked/unstructured-0.25": (868, 1.28),
    "masked/unstructured-0.75": (211, 3.6),
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
    "shipped/pruned": (861, 2.1),
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
    "finetune": {"trainable": "all", "epochs": 12, "batch_size": 128, "optimizer": "adamw", "learning_rate": 0.004,
                 "weight_decay": 0.05},
}  # fmt: skip
CONTROLS: dict[tuple[str, str | None], str] = {("pruned", "unstructured"): "pruned/unstructured-0.0"}
CONTROLS |= {("quantized", "qat"): "quantized/qat-fp32"}
CONTROLS |= {("students", method): "students/independent"
             for method in ("crd", "dkd", "hint", "logit", "label_smoothing")}  # fmt: skip
EPOCHS = 12  # of every training
SPREAD = 1.1 * 3**0.5 / 2.7764  # points between trainings: with Student's t of four degrees of freedom 1.1 to each side
UNTRAINED = ("quantized/ptq", "masked/")
META = {
    "classes": CLASSES,
    "image_size": 32,
    "counts": {"train": TRAINING_IMAGES, "validation": 480},
    "source": "shapes",
    "checksum": "1f2e3d4c",
}
MACHINE = {"processor": "a CPU", "threads": 1, "cores": 2, "torch": "2.15", "onnxruntime": "1.32", "warm_up": 3}
FRONT = ("quantized/ptq-int8", "quantized/ptq-int4", "pruned/structured-0.5")  # of accuracy, bytes and MACs
RECOMMENDED = {
    "model": "quantized/ptq-int8", "reason": "quantized/ptq-int8 has the smallest file of the 3 of 5 models.",
    "limits": {"max_drop_points": 1.0}, "runner_up": "pruned/structured-0.5", "n": 500,
    "validation": {"top1_pct": 96.0, "baseline_top1_pct": 96.0, "drop_points": 0.0},
}  # fmt: skip


def write(folder: Path, models: Models = EVERY_FAMILY, classes: int = len(CLASSES)) -> Paths:
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
        pairs=folder / "pairs.csv",
        replicates=folder / "replicates.csv",
    )
    evaluation(models).to_csv(paths.evaluation, index=False)
    per_class(models, names).to_csv(paths.per_class, index=False)
    paths.headline.write_text(json.dumps({"heldout": {"n_images": IMAGES}, "baseline": {"top1_pct": 87.3}}))
    paths.params.write_text(yaml.safe_dump(PARAMS))
    (folder / "meta.json").write_text(json.dumps(META))
    pairs(models).to_csv(paths.pairs, index=False)
    replicates(models).to_csv(paths.replicates, index=False)
    for model, (right, _) in models.items():
        if not model.startswith(UNTRAINED):
            file = folder / "history" / f"{model}.csv"
            file.parent.mkdir(parents=True, exist_ok=True)
            history(right / 10).to_csv(file, index=False)
    if models is BASELINE:
        return paths
    results = folder / "results"
    for name, rows in (pruning_tables() | benchmark_tables() | explain_tables() | deploy_tables(models)).items():
        file = results / f"{name}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_csv(file, index=False)
    (results / "benchmark" / "machine.json").write_text(json.dumps(MACHINE))
    (results / "recommendation.json").write_text(json.dumps(RECOMMENDED))
    plan(models).write(results / "plan.csv")
    return replace(paths, extra=tuple(sorted(results.iterdir())))


def with_tables(data: Tables, tables: Mapping[str, pd.DataFrame]) -> Tables:
    """The same with other further tables, by name."""
    return replace(data, extra={**data.extra, **tables})


def on_cifar100(data: Tables) -> Tables:
    """The same, measured on the source report's classes."""
    classes = sorted(estimates.ONLY_IN_CIFAR100) + [f"class_{i}" for i in range(97)]
    rows = pd.DataFrame({"model": "baseline", "class": classes, "n": 10, "top1_pct": 60.0})
    return replace(data, per_class=rows)


def within(name: str, value: float, low: float, high: float) -> dict[str, float]:
    """A value and the ends of its interval, so far below and above it."""
    return {name: value, f"{name}_low": value - low, f"{name}_high": value + high}


# What the explain stage measures of a model: how it looks beside another one, and under colour jitter.
SEEN = {"n": 190, "empty": 10, "window_px": 7, "ssim_other_image": 0.2, "cosine": 0.9, "rank_correlation": 0.8,
        "inside_pct": 50.0, "teacher_inside_pct": 52.0, "object_pct": 20.0}  # fmt: skip
JITTERED = {"n": 500, "consistency_pct": 45.0, **within("top1_pct", 85.0, 3, 3),
            **within("jittered_top1_pct", 40.0, 4, 4), **within("drop_points", 45.0, 4, 4)}  # fmt: skip


def encoded(values: bytes) -> str:
    """Pixels as the explain stage writes them."""
    return f"uint8:{base64.b64encode(values).decode()}"


def explain_tables() -> Rows:
    """What the explain stage writes of compressed models, by name."""
    ssim = {"pruned/unstructured-0.25": 0.9, "pruned/structured-0.25": 0.6, "quantized/ptq-int8": 0.99}
    seen, at_layer = {"baseline": None, **ssim}, {"teacher": "baseline", "role": "block3"}
    nobody = dict.fromkeys(("ssim_independent", "ssim_gain", "ssim_gain_low", "ssim_gain_high"))
    return {
        "explain/attention": [
            {"model": model, **at_layer, **SEEN, **nobody, **within("ssim", value, 0.02, 0.01)}
            for model, value in ssim.items()
        ],
        "explain/colour": [{"model": model, **JITTERED} for model in seen],
        "explain/robustness": [
            {"model": model, "change": change, "strength": strength, "n": 400, **within("top1_pct", 86.0, 4, 3),
             **within("changed_top1_pct", 70.0 - at, 5, 5), **within("drop_points", 16.0 + at, 3, 3)}
            for at, model in enumerate(seen) for change, strength in (("noise", 0.1), ("fgsm", 0.008))
        ],
        "explain/strips": [
            {"model": model, **at_layer, "image": 0, "ssim": value, "side": 4, "map": encoded(bytes(range(16)))}
            for model, value in seen.items()
        ],
        "explain/strip_images": [{"image": 0, "class": "ant", "side": 4, "pixels": encoded(bytes(48))}],
    }  # fmt: skip


def benchmark_tables() -> Rows:
    """What the benchmark stage writes, by name."""
    median = {
        ("baseline", "pytorch"): 10.0,
        ("baseline", "onnxruntime"): 10.0,
        ("baseline", "onnxruntime_int8"): 4.0,
        ("quantized/ptq-int4", "onnxruntime_int4"): 8.0,
        ("pruned/unstructured-0.5", "onnxruntime"): 9.9,
        ("pruned/structured-0.5", "onnxruntime"): 5.0,
    }
    times = [
        {"model": model, "engine": engine, "batch_size": 1, "latency_ms_p50": ms, "latency_ms_p25": ms - 0.1,
         "latency_ms_p75": ms + 0.1, "n": 20, "speedup": 10 / ms, "paper_protocol_ms": None}
        for (model, engine), ms in median.items()
    ]  # fmt: skip
    stages = [{"stage": "plan", "seconds": 2.0}, {"stage": "finetune", "seconds": 58.0}]
    return {"benchmark/latency": times, "benchmark/stages": stages}


def pruning_tables() -> Rows:
    """What the pruning stages write, by name."""
    layers = {"features.0": 1728, "features.4": 73728, "classifier.0": 16384, "classifier.6": 2560}
    tables: Rows = {}
    for method in ("unstructured", "structured"):
        tables[f"sensitivity/{method}"] = [
            {"method": method, "criterion": "l1", "layer": layer, "sparsity": s, "pruned_units": round(s * 100),
             "units": 100, "top1_pct": 87 - 40 * s * (place + 1) / 4, "top1_se_pct": 1.5, "loss": 0.5 + s,
             "loss_se": 0.02, "right": 400, "n": 480}
            for place, layer in enumerate(layers) for s in (0.0, 0.5, 0.9)
        ]  # fmt: skip
        everywhere = method == "unstructured"
        scope = {layer: n for layer, n in layers.items() if everywhere or layer.startswith("features")}
        tables[f"allocation/pruned/{method}-0.25"] = [
            {"method": method, "scope": "all" if everywhere else "conv", "layer": layer, "weights": n, "units": n,
             "assigned_sparsity": 0.2512, "achieved_sparsity": 0.25, "pruned_units": n // 4, "pruned_weights": n // 4}
            for layer, n in {**scope, "Overall": sum(scope.values())}.items()
        ]  # fmt: skip
        tables[f"weights/pruned/{method}-0.25"] = [
            {"state": state, "layer": layer, "low": low / 10, "high": (low + 1) / 10, "count": 50 - abs(low),
             "zeros": 0 if state == "dense" else n // 4, "weights": n}
            for state in ("dense", "masked", "trained") for layer, n in layers.items() for low in range(-5, 5)
        ]  # fmt: skip
        tables[f"storage/pruned/{method}-0.25"] = [
            {"state": state, "parameters": 100_000, "weights": 94_400, "nonzero_weights": nonzero, "macs": 1_000_000,
             "nonzero_mib": nonzero * 4 / 2**20, "zero_mib": (94_400 - nonzero) * 4 / 2**20,
             "total_mib": 94_400 * 4 / 2**20, "dense_bytes": 400_000, "bitmask_bytes": 12_500 + 4 * nonzero,
             "csr_bytes": 8 * nonzero, "zstd_bytes": 370_000, "bitmask_zstd_bytes": 11_000 + 4 * nonzero}
            for state, nonzero in (("dense", 94_400), ("masked", 70_800), ("trained", 70_800))
        ]  # fmt: skip
    return tables


def deploy_tables(models: Models) -> Rows:
    """What the stages recommend and export write, by name; some models are others than on held-out images."""
    worth = {
        "baseline": (96, 8.0, 10.0), "quantized/ptq-int8": (96, 2.0, 10.0), "quantized/ptq-int4": (90, 1.0, 10.0),
        "pruned/structured-0.5": (95, 4.0, 4.0), "pruned/unstructured-0.25": (94, 6.0, 10.0),
    }  # fmt: skip
    excluded = {model for model, (top1, *_) in worth.items() if top1 < 95}
    for model, (right, smaller) in models.items():
        worth.setdefault(model, (96 + (right - models["baseline"][0]) / 10, 8 / smaller, 10.0))
    rows = [
        {"model": model, **within("validation_top1_pct", top1, 2, 2), "n": 500, "size_mib": mib,
         "drop_points": 96 - top1, "drop_points_low": None if model == "baseline" else 95 - top1,
         "drop_points_high": None if model == "baseline" else 97 - top1,
         "control": None, **dict.fromkeys(f"control_drop_points{end}" for end in ("", "_low", "_high")),
         "macs_million": macs, "latency_ms": None, "on_front": model in FRONT, "allowed": model not in excluded,
         "why_not": "" if model not in excluded else f"{96 - top1} points lost, at most 1"}
        for model, (top1, mib, macs) in worth.items() if not model.startswith("masked/")
    ]  # fmt: skip
    files = [
        {"file": file, "model": model, "kind": kind, "n": IMAGES, "agreement_pct": agreement,
         "largest_difference": difference, "top1_pct": 86.0, "model_top1_pct": 86.2, "size_bytes": size}
        for file, model, kind, agreement, difference, size in (
            ("model_float.onnx", "quantized/qat-int4", "float32", 100.0, 1.2e-5, 9_800_000),
            ("model.onnx", "quantized/qat-int4", "int8", 99.4, 0.31, 2_500_000),
            ("model_int4.onnx", "quantized/qat-int4", "int4", 99.9, 0.05, 1_500_000),
            ("shipped.onnx", "shipped/quantized", "float32", 100.0, 9e-6, 6_000_000),
            ("shipped_int8.onnx", "shipped/quantized", "int8", 98.7, 0.52, 1_600_000),
        )
    ]  # fmt: skip
    return {"recommendation": rows, "deploy/parity": files}


def pairs(models: Models) -> pd.DataFrame:
    """Each model beside all that the plan compares it with."""
    points = {(one, other): (models[one][0] - models[other][0]) / 10 for one, other in plan(models).pairs()}
    rows = [
        {"model": model, "reference": other, "n": IMAGES, **measured(at), "agreement_pct": 96.0}
        for (model, other), at in points.items()
    ]
    return pd.DataFrame(rows, columns=list(PAIR_COLUMNS))


def measured(points: float) -> dict[str, float]:
    """What evaluate says of a difference over images."""
    return {**within("difference_points", points, 1.1, 1.1), "mcnemar_p": min(1.0, 2.0 ** -abs(points * 3))}


def apart(low: float, high: float, p: float = 0.01) -> Estimate:
    """A difference with this interval, judged alone; without one, not tested."""
    return Estimate((low + high) / 2, low, high, 0.5 if low <= 0 <= high else p, n=IMAGES)


def with_differences(data: Tables, differences: tables.Differences, *, pairs: bool = False) -> Tables:
    """The same with these differences; beside them those to the baseline, and the others only where `pairs` stay."""
    own = {pair: of for pair, of in data.differences.items() if pairs or "baseline" in pair}
    both = own | {pair[::-1]: -of for pair, of in differences.items()} | dict(differences)
    return replace(data, differences=both, models=tables.with_differences(data.models, both, data.plan))


def replicates(models: Models) -> pd.DataFrame:
    """Three trainings of everything, whose differences have a 95 % interval of 1.1 points to both sides."""
    compared = [(model, "baseline") for model in models if model != "baseline"]
    compared += list(pairs(models)[["model", "reference"]].itertuples(index=False, name=None))
    rows = [
        {"seed": seed, "model": model, "reference": other, "n": IMAGES,
         "top1_pct": models[model][0] / 10 + shift if other == "baseline" else None,
         "difference_points": (models[model][0] - models[other][0]) / 10 + shift, "gained": 0, "lost": 0,
         "shared_variance": 0.0}
        for seed, shift in enumerate((0.0, -SPREAD, SPREAD)) for model, other in compared
    ]  # fmt: skip
    own = [
        {"seed": seed, "model": "baseline", "n": IMAGES, "top1_pct": models["baseline"][0] / 10} for seed in range(3)
    ]
    return pd.DataFrame([*own, *rows], columns=list(verdict.COLUMNS))


def evaluation(models: Models) -> pd.DataFrame:
    """One row per model, the paired columns empty for the baseline."""
    rows = []
    for model, (right, smaller) in models.items():
        low, high = (100 * bound for bound in wilson_interval(right, IMAGES))
        paired = measured((right - models["baseline"][0]) / 10)
        rows.append(
            {
                "model": model, "top1_pct": right / 10, "top1_pct_low": low, "top1_pct_high": high,
                "top5_pct": 98.0, "n": IMAGES, "cross_entropy_loss": 0.41, "calibration_error_pct": 3.2,
                **(dict.fromkeys(paired) if model == "baseline" else paired),
                "parameters": int(2.4e6 / min(smaller, 4)), "nonzero_weights": int(2.3e6 / min(smaller, 4)),
                "macs": int(9.7e6 / min(smaller, 4)), "size_bytes": int(BASELINE_BYTES / smaller),
            }
        )  # fmt: skip
    trained = [model for model in models if not model.startswith(UNTRAINED)]
    table, unknown = plan(models), {"family": "sculpted", "step": "chisel"}  # such a family has no cost
    known, epochs = [row for row in rows if row["model"] in table], dict.fromkeys(trained, EPOCHS)
    planned = table.joined(with_training_cost(known, table, PARAMS, TRAINING_IMAGES, epochs))
    others = [{**row, **unknown} for row in rows if row["model"] not in table]
    return pd.DataFrame(planned + others).astype({"sparsity": float})


def plan(models: Iterable[str]) -> Plan:
    """The plan of those models whose family is known, with the controls of pruning, QAT and students."""
    known = [model for model in models if model.partition("/")[0] in FAMILIES]
    rows = []
    for row in plans.plan(known):
        control = CONTROLS.get((row.family, row.method))
        stage = "finetune" if row.family == "baseline" else f"{row.family}@{row.id.partition('/')[2]}"
        rows.append(replace(row, control=control if control in known and control != row.id else None, stage=stage))
    return Plan(rows)


def per_class(models: Models, classes: list[str]) -> pd.DataFrame:
    """A row per model and class, spread around the model's accuracy."""
    random = np.random.default_rng(0)
    n = IMAGES // len(classes)
    rows = []
    for model, (right, _) in models.items():
        shares = np.clip(right / IMAGES + random.normal(0, 0.08, len(classes)), 0, 1)
        rows += [(model, name, n, 100 * round(s * n) / n) for name, s in zip(classes, shares, strict=True)]
    return pd.DataFrame(rows, columns=["model", "class", "n", "top1_pct"])


def history(end_pct: float, epochs: int = EPOCHS) -> pd.DataFrame:
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
