"""The tables on students and teachers: outputs, attention, and accuracy under colour jitter, on validation images."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm import tqdm

from deepcompress.data.batches import Batches
from deepcompress.data.store import Arrays
from deepcompress.errors import UserError
from deepcompress.explain import gradcam, masks, similarity
from deepcompress.explain.jittered import jittered
from deepcompress.measure import accuracy, statistics
from deepcompress.measure.accuracy import logits
from deepcompress.measure.statistics import decimals, significant
from deepcompress.models import checkpoint, roles
from deepcompress.plan_table import BASELINE, Plan
from deepcompress.runtime import derived_seed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from jaxtyping import Bool, Float, Int, UInt8
    from torch import Tensor

    from deepcompress.data.batches import Batches, View
    from deepcompress.data.store import DataConfig, Fit
    from deepcompress.explain.settings import Explain
    from deepcompress.models.classifier import Classifier

    Logits = Mapping[str, Float[Tensor, "images classes"]]
    Row = dict[str, Any]
    Maps = Float[np.ndarray, "images height width"]

INDEPENDENT = "students/independent"
MAX_SIDE = 64  # px; more is not seen at the size of a report's pictures
BYTES = "uint8:"  # in front of base64, so that no table reader takes it for a number


@dataclass(frozen=True)
class Pair:
    """A model and what it is compared with.

    Attributes:
        model: A student, or a compressed model.
        reference: The baseline; for a student also its teacher, for a control every teacher in turn.
    """

    model: str
    reference: str


def pairs(plan: Plan) -> list[Pair]:
    """Each student with its teacher, or a control with all; each model but teachers and masked ones with the baseline.

    Students tell how alike to the baseline a network is that does not descend from it.

    Raises:
        UserError: If the plan has nothing to compare.
    """
    teachers = [model.id for model in plan if model.family == "teachers"]
    listed = []
    for model in plan:
        if model.family == "students":
            listed += [Pair(model.id, teacher) for teacher in ([model.teacher] if model.teacher else teachers)]
        if model.family not in ("baseline", "teachers", "masked"):
            listed.append(Pair(model.id, BASELINE))
    if not listed:
        raise UserError("the plan has no student and no compressed model, so there is nothing to compare")
    return list(dict.fromkeys(listed))  # a student of the baseline is compared with it once


def load_models(
    ids: list[str], folder: Path, *, classes: tuple[str, ...], device: torch.device
) -> tuple[dict[str, Classifier], View]:
    """The models in evaluation mode on a device, and the view that they share.

    Raises:
        UserError: If a file is missing or damaged, or a model knows other classes or needs other pixels.
    """
    found, views = {}, set()
    for model in ids:
        path = folder / f"{model}.safetensors"
        loaded = checkpoint.load(path)
        if loaded.classes != tuple(classes):
            raise UserError(f"{path}: made for other classes than the validation images have")
        views.add(loaded.view)
        if len(views) > 1:
            raise UserError(f"{path}: sees images as {loaded.view}, unlike the models before it")
        found[model] = loaded.model.to(device).to(memory_format=torch.channels_last)
    return found, views.pop()


class Scene:
    """The images that models are compared on, all seen in the same way.

    Args:
        fit: Its validation images are used.
        view: Of every model.
        how: The `explain` section.
        device: Where models run.
        seed: Of the pipeline; decides which images are looked at and how they are recoloured.
        data: The `data` section, from which objects may be drawn again.
    """

    def __init__(
        self, fit: Fit, view: View, how: Explain, *, device: torch.device, seed: int, data: DataConfig
    ) -> None:
        self.fit, self.view, self.how, self.device, self.seed, self._data = fit, view, how, device, seed, data
        order = np.random.default_rng(derived_seed(seed, "explained images")).permutation(len(fit.validation))
        self.rows: Int[np.ndarray, " images"] = np.sort(order[: how.images])
        self.shown = np.linspace(0, len(self.rows) - 1, how.strip_images).astype(int)

    def validation(self) -> Batches:
        """All validation images."""
        return self._batches(self.fit.validation)

    def recoloured(self) -> Batches:
        """All validation images under colour jitter."""
        return self._batches(jittered(self.fit.validation, self.how.jitter, seed=self.seed))

    def looked_at(self) -> Batches:
        """The images of attention maps."""
        whole = self.fit.validation
        return self._batches(Arrays(whole.images[self.rows], whole.labels[self.rows]))

    def masks(self) -> Bool[np.ndarray, "images size size"] | None:
        """The objects in the images of attention maps, where the data is drawn."""
        return masks.of_validation(self._data, self.fit, self.rows, size=self.view.size, seed=self.seed)

    def _batches(self, arrays: Arrays) -> Batches:
        return Batches(arrays, self.view, batch_size=self.how.batch_size, device=self.device)


def tables(models: Mapping[str, Classifier], pairs: Sequence[Pair], scene: Scene) -> dict[str, list[Row]]:
    """Rows by table name: alignment, colour, attention, strips and strip_images."""
    plain, other = (_answers(models, batches) for batches in (scene.validation(), scene.recoloured()))
    labels = torch.from_numpy(np.array(scene.fit.validation.labels))
    rows_by_table: dict[str, list[Row]] = {
        "alignment": alignment_rows(pairs, plain, other, temperature=scene.how.temperature),
        "colour": jitter_rows(plain, other, labels),
        "attention": [],
    }
    window, objects, images = scene.how.ssim_window, scene.masks(), scene.looked_at()
    for depth, role in enumerate(default_roles(scene.view.size)):
        # Beside the baseline the finer layer says enough; a second one would cost as much again.
        chosen = [pair for pair in pairs if depth == 0 or pair.reference != BASELINE]
        needed = {model for pair in chosen for model in (pair.model, pair.reference)}
        seen = look({name: model for name, model in models.items() if name in needed}, images, role)
        rows_by_table["attention"] += attention_rows(seen, chosen, window=window, masks=objects)
        if depth == 0:
            rows_by_table["strips"] = strip_rows(seen, pairs, scene.shown, window=window)
    return rows_by_table | {"strip_images": _pictures(images.arrays, scene)}


def _answers(models: Mapping[str, Classifier], batches: Batches) -> dict[str, torch.Tensor]:
    bar = tqdm(models.items(), desc="answers", unit="model", disable=None)
    return {name: logits(model, batches)[0] for name, model in bar}


def _pictures(arrays: Arrays, scene: Scene) -> list[Row]:
    names = scene.fit.meta.classes
    return image_rows(arrays.images[scene.shown], [names[label] for label in arrays.labels[scene.shown]])


def alignment_rows(pairs: Iterable[Pair], plain: Logits, jittered: Logits, *, temperature: float) -> list[Row]:
    """A row per model and reference; the column `teacher` names the latter, be it a teacher or the baseline.

    Args:
        pairs: Whom to compare.
        plain: Logits by model.
        jittered: Of the same images under colour jitter.
        temperature: Of the second KL column.

    Returns:
        Columns `kl_nats` (KL(teacher || student) at temperature 1, mean over images), `kl_softened_nats` (at
        `temperature`, without the factor T^2), `agreement_pct` (same top-1 class, right or wrong) and
        `jittered_agreement_pct` (the same, both seeing the jittered image), and `n` images.
    """
    rows = []
    for pair in pairs:
        teacher, student = plain[pair.reference].double(), plain[pair.model].double()
        rows.append(
            {
                "model": pair.model,
                "teacher": pair.reference,
                "n": len(teacher),
                "kl_nats": _nats(accuracy.kl_divergence(teacher, student)),
                "temperature": temperature,
                "kl_softened_nats": _nats(accuracy.kl_divergence(teacher, student, temperature)),
                "agreement_pct": decimals(100 * accuracy.top1_agreement(teacher, student)),
                "jittered_agreement_pct": decimals(
                    100 * accuracy.top1_agreement(jittered[pair.reference], jittered[pair.model])
                ),
            }
        )
    return rows


def jitter_rows(plain: Logits, jittered: Logits, labels: Int[Tensor, " images"]) -> list[Row]:
    """A row per model: accuracy on the images and on the jittered copy, each with its 95 % Wilson interval.

    `consistency_pct` is the share of images that get the same answer in both colours, `drop_points` the plain
    accuracy less the jittered one with its paired 95 % bootstrap interval.
    """
    rows = []
    for model, outputs in plain.items():
        right, other = (accuracy.top_k_correct(both, labels).numpy() for both in (outputs, jittered[model]))
        low, high = statistics.paired_bootstrap(right, other)
        rows.append(
            {
                "model": model,
                "n": len(labels),
                **_accuracy("top1_pct", int(right.sum()), len(labels)),
                **_accuracy("jittered_top1_pct", int(other.sum()), len(labels)),
                "drop_points": decimals(100 * float(right.mean() - other.mean())),
                "drop_points_low": decimals(low),
                "drop_points_high": decimals(high),
                "consistency_pct": decimals(100 * accuracy.top1_agreement(outputs, jittered[model])),
            }
        )
    return rows


def _accuracy(name: str, right: int, n: int) -> Row:
    low, high = statistics.wilson_interval(right, n)
    values = {name: right / n, f"{name}_low": low, f"{name}_high": high}
    return {key: decimals(100 * value) for key, value in values.items()}


def _nats(value: Tensor) -> float | None:
    return significant(round(value.item(), 6))  # below a millionth it is rounding of the logits


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


def attention_rows(
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


def image_rows(pixels: UInt8[np.ndarray, "images side side 3"], labels: Sequence[str]) -> list[Row]:
    """A row per image: `image` (its number), `class`, `side` [px] and `pixels`."""
    shrunk = [_shrink(one) for one in pixels]
    return [
        {"image": number, "class": label, "side": len(one), "pixels": encoded(one)}
        for number, (one, label) in enumerate(zip(shrunk, labels, strict=True))
    ]


def strip_rows(seen: Attention, pairs: Sequence[Pair], shown: Int[np.ndarray, " shown"], *, window: int) -> list[Row]:
    """A row per pair and image shown: `map` of the model, `ssim` to the reference's; before them, the reference's own.

    The column `teacher` names the reference, be it a teacher or the baseline.
    `image` counts what is shown, as in `images`; `map` holds 0 to 255.
    """
    rows = []
    for teacher in dict.fromkeys(pair.reference for pair in pairs):
        own = seen.maps[teacher][shown]
        for model in (teacher, *(pair.model for pair in pairs if pair.reference == teacher)):
            drawn = seen.maps[model][shown]
            alike = similarity.ssim(drawn, own, window=window)
            rows += [
                {
                    "model": model,
                    "teacher": teacher,
                    "role": seen.role,
                    "image": number,
                    "ssim": None if model == teacher else significant(float(alike[number])),
                    "side": len(_shrink(one)),
                    "map": encoded((255 * _shrink(one) + 0.5).astype(np.uint8)),
                }
                for number, one in enumerate(drawn)
            ]
    return rows


def encoded(values: UInt8[np.ndarray, " ..."]) -> str:
    """Bytes in row order, as text."""
    return BYTES + base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


def _shrink(picture: np.ndarray) -> np.ndarray:
    """Every n-th pixel, so that the side is at most MAX_SIDE."""
    step = -(-len(picture) // MAX_SIDE)
    return picture[::step, ::step]
