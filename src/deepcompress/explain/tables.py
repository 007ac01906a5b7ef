"""The tables on students and teachers: outputs, attention, and accuracy on changed images, all validation images."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm import tqdm

from deepcompress import files, params
from deepcompress.data.batches import Batches, View, resize
from deepcompress.data.store import Arrays, DataConfig, Fit, open_fit, stratified
from deepcompress.errors import UserError
from deepcompress.explain import attention, robustness
from deepcompress.measure import accuracy, passes
from deepcompress.measure.statistics import decimals, significant
from deepcompress.models import checkpoint
from deepcompress.models.spec import deepest_blocks, has_layer
from deepcompress.plan_table import BASELINE, Plan
from deepcompress.runtime import derived_seed

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, UInt8
    from torch import Tensor

    from deepcompress.measure.settings import Explain
    from deepcompress.measure.verdict import Estimate

    Logits = Mapping[str, Float[Tensor, "images classes"]]
    Maps = Float[np.ndarray, "images height width"]
    Pairs = Sequence[tuple[str, str]]
    Row = dict[str, Any]

STAGE = "explain"
INDEPENDENT = "students/independent"
MAX_SIDE = 64  # px; more is not seen at the size of a report's pictures
BYTES = "uint8:"  # in front of base64, so that no table reader takes it for a number


def compressed(plan: Plan) -> list[str]:
    """The baseline and every compressed model that was not only masked: those that are tried on changed images."""
    return [model.id for model in plan if model.family not in ("teachers", "students", "masked")]


def pairs(plan: Plan) -> list[tuple[str, str]]:
    """(model, reference): a student and its teacher (a control and each), and all but masked models and the baseline.

    Students tell how alike to the baseline a network is that does not descend from it.

    Raises:
        UserError: If the plan has nothing to compare.
    """
    teachers = [model.id for model in plan if model.family == "teachers"]
    listed = []
    for model in plan:
        if model.family == "students":
            listed += [(model.id, teacher) for teacher in ([model.teacher] if model.teacher else teachers)]
        if model.family not in ("baseline", "teachers", "masked"):
            listed.append((model.id, BASELINE))
    if not listed:
        raise UserError("the plan has no student and no compressed model, so there is nothing to compare")
    return list(dict.fromkeys(listed))  # a student of the baseline is compared with it once


@dataclass(frozen=True)
class ValidationImages:
    """The images that models are compared on, all seen in the same way."""

    fit: Fit  # its validation images are used
    digest: str  # of their files, as `passes.digest` makes it
    view: View  # of every model
    config: Explain  # the `explain` section
    # The `data` section, from which objects may be drawn again; its seed decides which images have maps and how all are
    # recoloured.
    data: DataConfig
    device: torch.device  # where models run

    @classmethod
    def open(
        cls, folder: Path, baseline: Path, config: Explain, data: DataConfig, device: torch.device
    ) -> ValidationImages:
        """Those that the download stage wrote to `folder`, as the baseline of this file sees them."""
        digest = passes.digest([folder / "meta.json", *folder.glob("validation_*")])
        view = checkpoint.load(baseline).view
        return cls(open_fit(folder, data.device_budget_mib), digest, view, config, data, device)

    def batches(self, arrays: Arrays) -> Batches:
        """The images as the models see them."""
        return Batches(arrays, self.view, batch_size=self.config.batch_size, device=self.device)

    def mapped(self) -> Int[np.ndarray, " images"]:
        """Rows of the images that have attention maps."""
        return self._some(self.config.images)

    def changed(self) -> Int[np.ndarray, " images"]:
        """Rows of the images that are tried with noise and with a step against the network."""
        return self._some(self.config.robustness.images)

    def _some(self, count: int) -> Int[np.ndarray, " images"]:
        order = np.random.default_rng(derived_seed(self.data.seed, "explained images"))
        return np.sort(order.permutation(len(self.fit.validation))[:count])

    def of(self, rows: Int[np.ndarray, " images"]) -> Batches:
        """Some of the images as the models see them."""
        whole = self.fit.validation
        return self.batches(Arrays(whole.images[rows], whole.labels[rows]))

    @cached_property
    def jittered(self) -> Arrays:
        """All of them, each in colours of its own."""
        return robustness.jittered(self.fit.validation, self.config.jitter, seed=self.data.seed)


@dataclass(frozen=True, eq=False)
class Look:
    """What the tables need of one model."""

    plain: Float[Tensor, "images classes"]  # logits of all validation images
    jittered: Float[Tensor, "images classes"]  # logits of their copy in other colours
    # Logits of some of them under noise and under a step against the network, where these were tried.
    changed: Mapping[str, Float[Tensor, "some classes"]]
    maps: Mapping[str, Maps]  # by layer role, of the images that have maps; a network without such a layer has none


def looks(
    paths: Mapping[str, Path], pairs: Pairs, images: ValidationImages, changed: Collection[str] = ()
) -> dict[str, Look]:
    """A look at every model; one at an equal file, with equal images, settings and code, is found again in scratch.

    The pairs tell which layers are looked at; `changed` are models that are tried with noise and with a step against
    them.

    Raises:
        UserError: If a file is missing or damaged, or a model knows other classes or needs other pixels.
    """
    finest, *coarser = deepest_blocks(images.view.size)
    # Beside the baseline the finer layer says enough; a second one would cost as much again.
    everywhere = {model for model, reference in pairs if reference != BASELINE} | {r for _, r in pairs if r != BASELINE}
    calls = []
    for model, path in paths.items():
        roles = [finest, *(coarser if model in everywhere else ())]
        strengths = images.config.robustness.strengths if model in changed else {}
        parts = images.digest, images.view, images.config, images.data.seed, images.device.type, roles, [*strengths]
        place = passes.scratch(STAGE, path, *parts) / "look.npz"
        calls.append(partial(files.kept_arrays, place, partial(_look, path, roles, images, strengths)))
    made = {}
    all_found = passes.on_all_cores(calls, images.device, images.config.batch_size * images.view.size**2)
    for model, found in zip(paths, tqdm(all_found, "explain", len(calls), unit="model", disable=None), strict=True):
        plain, other = (torch.from_numpy(found.pop(name)) for name in ("plain", "jittered"))
        harmed = {
            name: torch.from_numpy(found.pop(name)) for name in (robustness.NOISE, robustness.FGSM) if name in found
        }
        made[model] = Look(plain, other, harmed, found)
    return made


def _look(
    path: Path, roles: Sequence[str], images: ValidationImages, strengths: Mapping[str, float]
) -> dict[str, np.ndarray]:
    loaded, whole = checkpoint.load(path), images.fit.validation
    if loaded.classes != images.fit.meta.classes:
        raise UserError(f"{path}: made for other classes than the validation images have")
    if loaded.view != images.view:
        raise UserError(f"{path}: sees images as {loaded.view}, the baseline as {images.view}")
    model = loaded.model.to(images.device).to(memory_format=torch.channels_last)
    mapped, some = images.of(images.mapped()), images.of(images.changed())
    changed = partial(robustness.logits, model, some, seed=images.data.seed)
    return {
        "plain": accuracy.logits(model, images.batches(whole))[0].numpy(),
        "jittered": accuracy.logits(model, images.batches(images.jittered))[0].numpy(),
        **{name: changed(name, strength).numpy() for name, strength in strengths.items()},
        **{role: attention.maps(model, mapped, role) for role in roles if has_layer(model.spec, role)},
    }


def tables(looks: Mapping[str, Look], pairs: Pairs, images: ValidationImages) -> dict[str, list[Row]]:
    """Rows by table name: alignment, colour, robustness, attention, strips and strip_images."""
    config, whole, rows, some = images.config, images.fit.validation, images.mapped(), images.changed()
    plain = {model: look.plain for model, look in looks.items()}
    other = {model: look.jittered for model, look in looks.items()}
    labels = torch.from_numpy(np.array(whole.labels))
    objects = object_masks(images.data, images.fit, rows, size=images.view.size)
    shown = np.linspace(0, len(rows) - 1, config.strip_images).astype(int)
    classes = [images.fit.meta.classes[whole.labels[row]] for row in rows[shown]]
    pixels = resize(torch.from_numpy(np.array(whole.images[rows[shown]])), images.view.size).to(torch.uint8).numpy()
    made: dict[str, list[Row]] = {
        "alignment": alignment_rows(pairs, plain, other, temperature=config.temperature),
        "colour": robustness.jitter_rows(plain, other, labels),
        "robustness": robustness.robustness_rows(
            {model: look.plain[some] for model, look in looks.items()},
            {model: look.changed for model, look in looks.items()},
            labels[some],
            config.robustness.strengths,
        ),
        "attention": [],
        "strip_images": image_rows(pixels, classes),
    }
    for depth, role in enumerate(deepest_blocks(images.view.size)):
        maps = {model: look.maps[role] for model, look in looks.items() if role in look.maps}
        seen = [pair for pair in pairs if maps.keys() >= {*pair}]  # not every network has maps of this side
        chosen = [pair for pair in seen if depth == 0 or pair[1] != BASELINE]
        made["attention"] += attention_rows(maps, chosen, role, window=config.ssim_window, masks=objects)
        if depth == 0:
            made["strips"] = strip_rows(maps, seen, role, shown, window=config.ssim_window)
    return made


def object_masks(
    data: DataConfig, fit: Fit, wanted: Int[np.ndarray, " images"], *, size: int
) -> Bool[np.ndarray, "images size size"] | None:
    """Which pixels the object covers in some validation images; None where the source cannot draw them.

    The images, `wanted` rows of those in `fit`, are drawn again to find out which ones they are, and compared with the
    stored ones.

    Raises:
        UserError: If the stored images are not those of this section.
    """
    source = params.plugin(data.plugins, data.source, "data.source")
    if not hasattr(source, "draw"):
        return None
    labels = np.arange(len(fit.train) + len(fit.validation), dtype=np.int64) % len(source.CLASSES)
    _, rows = stratified(labels, data.validation_fraction, derived_seed(data.seed, "validation"))
    drawn = [source.draw(int(rows[i]), split="train", size=data.stored_size, seed=data.seed) for i in wanted]
    if not all(np.array_equal(image, fit.validation.images[i]) for (image, _), i in zip(drawn, wanted, strict=True)):
        raise UserError("the validation images are not those that params.yaml draws; run the download stage again")
    nearest = np.arange(size) * data.stored_size // size
    return np.stack([mask[nearest][:, nearest] for _, mask in drawn])


def alignment_rows(pairs: Pairs, plain: Logits, jittered: Logits, *, temperature: float) -> list[Row]:
    """A row per model and reference; the column `teacher` names the latter, be it a teacher or the baseline.

    Returns:
        Columns `kl_nats` (KL(teacher || student) at temperature 1, mean over images), `kl_softened_nats` (at
        `temperature`, without the factor T^2), `agreement_pct` (same top-1 class, right or wrong) and
        `jittered_agreement_pct` (the same, both seeing the jittered image), and `n` images.
    """
    rows = []
    for model, reference in pairs:
        teacher, student = plain[reference].double(), plain[model].double()
        in_both = [accuracy.top1_agreement(logits[reference], logits[model]) for logits in (plain, jittered)]
        rows.append(
            {
                "model": model,
                "teacher": reference,
                "n": len(teacher),
                "kl_nats": _nats(accuracy.kl_divergence(teacher, student)),
                "temperature": temperature,
                "kl_softened_nats": _nats(accuracy.kl_divergence(teacher, student, temperature)),
                "agreement_pct": decimals(100 * in_both[0]),
                "jittered_agreement_pct": decimals(100 * in_both[1]),
            }
        )
    return rows


def _nats(value: Tensor) -> float | None:
    return significant(round(value.item(), 6))  # below a millionth it is rounding of the logits


def attention_rows(
    maps: Mapping[str, Maps],
    pairs: Pairs,
    role: str,
    *,
    window: int,
    masks: Bool[np.ndarray, "images height width"] | None = None,
) -> list[Row]:
    """A row per pair, of maps of the same images at one layer, `role` (see models/spec.py).

    Returns:
        Columns `ssim` with its 95 % interval over images, two nulls (`ssim_other_image`: to the reference's map of
        another image; `ssim_independent`: the untaught student's to the teacher's, empty beside the baseline),
        `ssim_gain` over the latter with its paired interval, `cosine`, `rank_correlation`, `n` images with maps,
        `empty` without, and, with masks of the object in each image, the share of the maps inside (`inside_pct`,
        `teacher_inside_pct`) and of the image that is object (`object_pct`). The column `teacher` names the reference.
    """
    teachers = {reference for _, reference in pairs} - {BASELINE} if INDEPENDENT in maps else set()
    ranks = {model: attention.ranks(maps[model]) for model in {model for pair in pairs for model in pair}}
    untaught = {teacher: attention.ssim(maps[INDEPENDENT], maps[teacher], window=window) for teacher in teachers}
    rows = []
    for model, reference in pairs:
        student, teacher = maps[model], maps[reference]
        ssim = attention.ssim(student, teacher, window=window)
        nothing = np.full_like(ssim, np.nan)  # no untaught student beside the baseline; that one itself gains nothing
        null = untaught.get(reference, nothing)
        gain = nothing if model == INDEPENDENT else ssim - null
        mean = attention.mean(ssim)
        rows.append(
            {
                "model": model,
                "teacher": reference,
                "role": role,
                "n": mean.n,
                "empty": len(ssim) - mean.n,
                "window_px": window,
                **_with_interval("ssim", mean),
                "ssim_other_image": _mean(attention.ssim_to_next(student, teacher, window=window)),
                "ssim_independent": _mean(null),
                **_with_interval("ssim_gain", attention.mean(gain)),
                "cosine": _mean(attention.cosine(student, teacher)),
                "rank_correlation": _mean(attention.cosine(ranks[model], ranks[reference])),
                "inside_pct": _inside_pct(student, masks),
                "teacher_inside_pct": _inside_pct(teacher, masks),
                "object_pct": None if masks is None else decimals(100 * float(masks.mean())),
            }
        )
    return rows


def _with_interval(name: str, mean: Estimate) -> Row:
    values = {name: mean.value, f"{name}_low": mean.low, f"{name}_high": mean.high}
    return {key: significant(value) for key, value in values.items()}


def _mean(values: Float[np.ndarray, " images"]) -> float | None:
    return significant(attention.mean(values).value)


def _inside_pct(maps: Maps, masks: np.ndarray | None) -> float | None:
    return None if masks is None else decimals(100 * attention.mean(attention.inside(maps, masks)).value)


def image_rows(pixels: UInt8[np.ndarray, "images side side 3"], labels: Sequence[str]) -> list[Row]:
    """A row per image of the side that models see: `image` (its number), `class`, `side` [px] and `pixels`."""
    shrunk = zip(map(_shrink, pixels), labels, strict=True)
    return [
        {"image": number, "class": label, "side": len(image), "pixels": encoded(image)}
        for number, (image, label) in enumerate(shrunk)
    ]


def strip_rows(
    maps: Mapping[str, Maps], pairs: Pairs, role: str, shown: Int[np.ndarray, " shown"], *, window: int
) -> list[Row]:
    """A row per pair and image shown: `map` of the model, `ssim` to the reference's; before them, the reference's own.

    The column `teacher` names the reference, be it a teacher or the baseline.
    `image` counts what is shown, as in `images`; `map` holds 0 to 255.
    """
    rows = []
    for teacher in dict.fromkeys(reference for _, reference in pairs):
        for model in (teacher, *(model for model, reference in pairs if reference == teacher)):
            drawn = maps[model][shown]
            ssim = attention.ssim(drawn, maps[teacher][shown], window=window)
            rows += [
                {
                    "model": model,
                    "teacher": teacher,
                    "role": role,
                    "image": number,
                    "ssim": None if model == teacher else significant(float(ssim[number])),
                    "side": len(_shrink(image)),
                    "map": encoded((255 * _shrink(image) + 0.5).astype(np.uint8)),
                }
                for number, image in enumerate(drawn)
            ]
    return rows


def encoded(values: UInt8[np.ndarray, " ..."]) -> str:
    """Bytes in row order, as text."""
    return BYTES + base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


def _shrink(picture: np.ndarray) -> np.ndarray:
    """Every n-th pixel, so that the side is at most MAX_SIDE."""
    step = -(-len(picture) // MAX_SIDE)
    return picture[::step, ::step]
