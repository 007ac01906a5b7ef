"""All comparisons of models with their teachers or the baseline, on the validation images: one table per question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm import tqdm

from deepcompress.data.batches import Batches
from deepcompress.data.store import Arrays
from deepcompress.explain import alignment, attention, masks, strips
from deepcompress.explain.jittered import jittered
from deepcompress.measure.accuracy import logits
from deepcompress.plan_table import BASELINE
from deepcompress.runtime import derived_seed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Bool, Int

    from deepcompress.data.batches import View
    from deepcompress.data.store import DataConfig, Fit
    from deepcompress.explain.models import Pair
    from deepcompress.explain.settings import Explain
    from deepcompress.models.classifier import Classifier

    Row = dict[str, Any]


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
        """All validation images in other colours."""
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
    found: dict[str, list[Row]] = {
        "alignment": alignment.answers(pairs, plain, other, temperature=scene.how.temperature),
        "colour": alignment.colours(plain, other, labels),
        "attention": [],
    }
    window, objects, images = scene.how.ssim_window, scene.masks(), scene.looked_at()
    for depth, role in enumerate(attention.default_roles(scene.view.size)):
        # Beside the baseline the finer layer says enough; a second one would cost as much again.
        chosen = [pair for pair in pairs if depth == 0 or pair.reference != BASELINE]
        needed = {model for pair in chosen for model in (pair.model, pair.reference)}
        seen = attention.look({name: model for name, model in models.items() if name in needed}, images, role)
        found["attention"] += attention.rows(seen, chosen, window=window, masks=objects)
        if depth == 0:
            found["strips"] = strips.maps(seen, pairs, scene.shown, window=window)
    return found | {"strip_images": _pictures(images.arrays, scene)}


def _answers(models: Mapping[str, Classifier], batches: Batches) -> dict[str, torch.Tensor]:
    bar = tqdm(models.items(), desc="answers", unit="model", disable=None)
    return {name: logits(model, batches)[0] for name, model in bar}


def _pictures(arrays: Arrays, scene: Scene) -> list[Row]:
    names = scene.fit.meta.classes
    return strips.images(arrays.images[scene.shown], [names[label] for label in arrays.labels[scene.shown]])
