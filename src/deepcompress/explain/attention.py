"""How closely models look where their teachers, or the baseline, look: a row per pair and layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from deepcompress.explain import gradcam, similarity
from deepcompress.measure.statistics import decimals, significant
from deepcompress.models import roles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Bool, Float

    from deepcompress.data.batches import Batches
    from deepcompress.explain.models import Pair
    from deepcompress.models.classifier import Classifier

    Row = dict[str, Any]
    Maps = Float[np.ndarray, "images height width"]

BASELINE, INDEPENDENT = "baseline", "students/independent"


@dataclass(frozen=True)
class Attention:
    """Maps of all models at one layer.

    Attributes:
        role: The layer, see models/roles.py.
        maps: By model.
    """

    role: str
    maps: Mapping[str, Maps]


def look(models: Mapping[str, Classifier], batches: Batches, role: str) -> Attention:
    """The maps of every model for the same images."""
    bar = tqdm(models.items(), desc=f"maps of {role}", unit="model", disable=None)
    return Attention(role, {name: gradcam.maps(model, batches, role) for name, model in bar})


def rows(
    seen: Attention,
    pairs: Sequence[Pair],
    *,
    window: int,
    masks: Bool[np.ndarray, "images height width"] | None = None,
) -> list[Row]:
    """A row per pair.

    Args:
        seen: Maps at one layer.
        pairs: Whom to compare.
        window: Of SSIM [px].
        masks: The object in each image, where that is known.

    Returns:
        Columns `ssim` with its 95 % interval over images, two nulls (`ssim_other_image`: to the reference's map of
        another image; `ssim_independent`: the untaught student's to the teacher's, empty beside the baseline),
        `ssim_gain` over the latter with its paired interval, `cosine`, `rank_correlation`, `n` images with maps,
        `empty` without, and, with masks, the share of the maps inside (`inside_pct`, `teacher_inside_pct`) and of
        the image that is object (`object_pct`). The column `teacher` names the reference.
    """
    teachers = {pair.reference for pair in pairs} - {BASELINE} if INDEPENDENT in seen.maps else set()
    untaught = {name: similarity.ssim(seen.maps[INDEPENDENT], seen.maps[name], window=window) for name in teachers}
    return [_row(seen, pair, window, masks, untaught.get(pair.reference)) for pair in pairs]


def _row(seen: Attention, pair: Pair, window: int, masks: np.ndarray | None, untaught: np.ndarray | None) -> Row:
    student, teacher = seen.maps[pair.model], seen.maps[pair.reference]
    each = similarity.ssim(student, teacher, window=window)
    nothing = np.full_like(each, np.nan)  # no untaught twin beside the baseline; the untaught one gains nothing
    null = nothing if untaught is None else untaught
    gain = similarity.mean(nothing if pair.model == INDEPENDENT else each - null)
    found = similarity.mean(each)
    return {
        "model": pair.model,
        "teacher": pair.reference,
        "role": seen.role,
        "n": found.n,
        "empty": len(each) - found.n,
        "window_px": window,
        **_with_interval("ssim", found),
        "ssim_other_image": _mean(similarity.ssim_to_next(student, teacher, window=window)),
        "ssim_independent": _mean(null),
        **_with_interval("ssim_gain", gain),
        "cosine": _mean(similarity.cosine(student, teacher)),
        "rank_correlation": _mean(similarity.rank_correlation(student, teacher)),
        **_on_object(student, teacher, masks),
    }


def _on_object(student: Maps, teacher: Maps, masks: np.ndarray | None) -> Row:
    if masks is None:
        return {"inside_pct": None, "teacher_inside_pct": None, "object_pct": None}
    both = [similarity.mean(gradcam.inside(maps, masks)).value for maps in (student, teacher)]
    names = ("inside_pct", "teacher_inside_pct", "object_pct")
    return {name: decimals(100 * v) for name, v in zip(names, (*both, float(masks.mean())), strict=True)}


def _with_interval(name: str, found: similarity.Mean) -> Row:
    values = {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    return {key: significant(value) for key, value in values.items()}


def _mean(values: np.ndarray) -> float | None:
    return significant(similarity.mean(values).value)


def default_roles(image_size: int) -> tuple[str, ...]:
    """The layers to compare: the two deepest whose maps have 4 x 4 places or more, the finer first."""
    return roles.deepest_blocks(image_size)
