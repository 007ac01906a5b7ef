"""Every model of the plan on the held-out images, with a pass only for a model that changed.

A pass leaves its logits in scratch, under a name made of the model file, the held-out files and the measuring
code: a second run, or one with a single new model, reads what the others left. The numbers of a row, paired
ones included, are computed from logits each time.
"""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm import tqdm

from deepcompress import files, registry, runtime
from deepcompress.data.batches import Batches
from deepcompress.data.heldout import open_heldout
from deepcompress.errors import UserError
from deepcompress.measure import accuracy, macs, storage
from deepcompress.measure.rows import Answers, evaluation_row, pair_row, per_class_rows
from deepcompress.models import checkpoint

if TYPE_CHECKING:
    from deepcompress.data.heldout import HeldOut
    from deepcompress.measure.rows import Row
    from deepcompress.measure.settings import Evaluate

log = logging.getLogger(__name__)
BASELINE = "baseline"
SUFFIX = ".safetensors"


def planned_models(plan: str | Path, folder: str | Path) -> dict[str, Path]:
    """The file of each model id of the plan, the baseline first.

    Raises:
        UserError: If a model of the plan has no file, or a model file under `folder` is not in the plan.
    """
    content = files.read_json(plan)
    ids = content.get("models") if isinstance(content, dict) else None
    if not isinstance(ids, list) or BASELINE not in ids:
        raise UserError(f'{plan}: "models" must list the ids of models, {BASELINE} among them; got {ids!r}')
    ids = [BASELINE, *(model for model in ids if model != BASELINE)]
    paths = {model: Path(folder) / f"{model}{SUFFIX}" for model in ids}
    missing = [path for path in paths.values() if not path.is_file()]
    if missing:
        raise UserError(f"{_some(missing)}: no such file, but {plan} names it; run the stage that makes it")
    orphans = sorted(set(Path(folder).rglob(f"*{SUFFIX}")) - set(paths.values()))
    if orphans:
        raise UserError(f"{_some(orphans)}: no model of {plan}; remove it, or `dvc repro plan`")
    return paths


def planned_pairs(plan: str | Path) -> list[tuple[str, str]]:
    """The pairs of a model and its reference that the plan names.

    Raises:
        UserError: If there is no such list, or a pair names a model that is not in the plan.
    """
    content = files.read_json(plan)
    pairs = [(str(one), str(other)) for one, other in content.get("pairs", [])]
    for model in (model for pair in pairs for model in pair):
        if model not in content["models"]:
            raise UserError(f"{plan}: a pair names {model}, which is no model of the plan")
    return pairs


def evaluate(
    models: dict[str, Path],
    pairs: list[tuple[str, str]],
    heldout_folder: Path,
    settings: Evaluate,
    device: torch.device,
) -> dict[str, list[Row]]:
    """Measure every model.

    Args:
        models: The file of each model id, the baseline first.
        pairs: Of a model and the one that it is to be compared with besides the baseline.
        heldout_folder: Of the held-out images.
        settings: The `evaluate` section.
        device: Where models run.

    Returns:
        The rows of each table: `evaluation`, `per_class` and `pairs`.

    Raises:
        UserError: If a model file is damaged, or made for other classes than the data has.
    """
    heldout, digest = open_heldout(heldout_folder), _digest(heldout_folder)
    labels = torch.from_numpy(np.array(heldout.arrays.labels))
    rows, per_class, found = [], [], dict[str, Answers]()
    for model, path in tqdm(models.items(), desc="evaluate", unit="model", disable=None):
        answers = _answers(path, heldout, digest, batch_size=settings.batch_size, device=device)
        bins, baseline = settings.calibration_bins, found.get(BASELINE)
        rows.append(evaluation_row(model, answers, labels, baseline=baseline, calibration_bins=bins))
        per_class += per_class_rows(model, answers, labels, heldout.meta.classes)
        found[model] = answers
        log.info("%s: %.2f %% top-1 of %d held-out images", model, rows[-1]["top1_pct"], len(labels))
    paired = [pair_row(one, other, found[one], found[other], labels) for one, other in pairs]
    return {"evaluation": rows, "per_class": per_class, "pairs": paired}


def measure(path: Path, heldout: HeldOut, *, batch_size: int, device: torch.device) -> Answers:
    """Load one model file and run it over the held-out images, in 32-bit floats.

    Raises:
        UserError: If the file is damaged, or its classes are not those of the data.
    """
    loaded = checkpoint.load(path)
    if tuple(loaded.classes) != tuple(heldout.meta.classes):
        raise UserError(f"{path}: {_other_classes(loaded.classes, heldout.meta.classes)}")
    model = loaded.model.to(device).to(memory_format=torch.channels_last)
    batches = Batches(heldout.arrays, loaded.view, batch_size=batch_size, device=device)
    counts = macs.parameters(model)
    return Answers(
        logits=accuracy.logits(model, batches)[0],
        parameters=counts["total"],
        nonzero_weights=counts["nonzero"],
        macs=sum(macs.layer_macs(model).values()),
        size_bytes=storage.size_bytes(path),
    )


def _answers(path: Path, heldout: HeldOut, digest: str, *, batch_size: int, device: torch.device) -> Answers:
    """What `measure` says, from scratch where an equal file was measured on equal data by equal code."""
    for name in registry.names("models.encodings"):  # part of the code that the scratch folder is named by
        registry.find("models.encodings", name)
    folder = runtime.scratch("evaluate", files.sha256(path), digest, batch_size, device.type, torch.__version__)
    counts, logits = folder / "counts.json", folder / "logits.npy"
    if not (counts.exists() and logits.exists()):
        answers = measure(path, heldout, batch_size=batch_size, device=device)
        content = io.BytesIO()  # np.save to a file tells of a full disk without saying so
        np.save(content, answers.logits.numpy())
        files.write_bytes(logits, content.getvalue())
        files.write_json(counts, {k: v for k, v in vars(answers).items() if k != "logits"})
    return Answers(logits=torch.from_numpy(np.load(logits)), **files.read_json(counts))


def _digest(folder: Path) -> str:
    """Names and checksums of a folder's files."""
    found = (path for path in sorted(folder.iterdir()) if path.is_file())
    return " ".join(f"{path.name}:{files.sha256(path)}" for path in found)


def _other_classes(ours: tuple[str, ...], theirs: tuple[str, ...]) -> str:
    if len(ours) != len(theirs):
        return f"the model tells {len(ours)} classes apart, the held-out data has {len(theirs)}"
    at = next(i for i, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one != other)
    return f"the model's class {at} is {ours[at]!r}, the held-out data's is {theirs[at]!r}"


def _some(paths: list[Path]) -> str:
    return str(paths[0]) + (f" (and {len(paths) - 1} more)" if len(paths) > 1 else "")
