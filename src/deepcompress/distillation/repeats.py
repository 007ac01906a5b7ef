"""Train the same student from several seeds: how much of a difference between methods is chance."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepcompress.training import finished, resume

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import pandas as pd

    from deepcompress.models.classifier import Classifier
    from deepcompress.training.history import History

FINISHED = "finished"  # folder below that of the training it belongs to


@dataclass(frozen=True)
class Training:
    """A training that can be started or taken up.

    Attributes:
        model: As it starts.
        folder: Of this training alone, in scratch.
        run: Trains the model in place.
    """

    model: Classifier
    folder: Path
    run: Callable[[], History]


def train_all(seeds: Iterable[int], prepare: Callable[[int], Training]) -> tuple[Classifier, dict[int, History]]:
    """Train one model per seed, in turn; a run that was killed does not repeat the trainings that had ended.

    Returns:
        The model of the first seed, and the history of each.
    """
    first: Classifier | None = None
    histories, folders = {}, []
    for seed in seeds:
        training = prepare(seed)
        histories[seed] = finished.once(training.model, training.folder / FINISHED, training.run)
        first = first or training.model
        folders.append(training.folder)
    for folder in folders:
        resume.clear(folder / FINISHED)
        resume.clear(folder)
    if first is None:
        raise ValueError("there are no seeds")
    return first, histories


def table(histories: dict[int, History], *, keep: str, images: int) -> pd.DataFrame:
    """A row per seed: accuracy of the weights that were kept, with mean and standard deviation over seeds.

    Args:
        histories: By seed.
        keep: `last` or `best_validation`, as in the recipe.
        images: Validation images.
    """
    import pandas as pd

    values = {seed: _kept_pct(history, keep) for seed, history in histories.items()}
    spread = statistics.stdev(values.values()) if len(values) > 1 else None
    return pd.DataFrame({"seed": values.keys(), "validation_top1_pct": values.values()}).assign(
        mean_pct=round(statistics.fmean(values.values()), 4),
        deviation_points=None if spread is None else round(spread, 4),
        n_seeds=len(values),
        n_images=images,
    )


def _kept_pct(history: History, keep: str) -> float:
    epoch = history.best() if keep == "best_validation" else history.epochs[-1]
    return epoch.validation_top1_pct
