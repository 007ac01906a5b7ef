"""What a file in losses/ is made of: its options, and by `build` of them a module that compares student and teacher."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from deepcompress.errors import UserError, require_array
from deepcompress.measure.accuracy import evaluating
from deepcompress.models.spec import VGGSpec, vgg_maps
from deepcompress.models.vgg import Classifier, outputs_of
from deepcompress.params import Section

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from deepcompress.data.batches import Batch


class LossOptions(Section):
    """What the block of every loss may say."""

    cross_entropy: float = Field(default=1.0, ge=0, allow_inf_nan=False)  # weight of the cross-entropy with the labels
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)  # of this loss


@dataclass(frozen=True)
class Tap:
    """A layer to read. With `pooled` its maps are averaged over height and width: (batch, channels)."""

    layer: str
    pooled: bool = False


@dataclass(frozen=True)
class Outputs:
    """What a network gives for a batch, in 32-bit floats."""

    logits: Float[Tensor, "batch classes"] | None  # (batch, classes); None where no loss asks a teacher for them
    # By tap: (batch, channels, height, width), or (batch, channels) where pooled.
    features: Mapping[Tap, Tensor] = field(default_factory=dict)

    def require_logits(self) -> Float[Tensor, "batch classes"]:
        """The logits; a ValueError where the loss did not ask for them."""
        if self.logits is None:
            raise ValueError("this loss reads logits but says that it does not")
        return self.logits


@dataclass(frozen=True)
class DistillBatch:
    """A batch as a loss sees it."""

    student: Outputs  # with gradients
    teacher: Outputs  # without; it saw the same pixels
    labels: Int[Tensor, " batch"]  # class of each image
    indices: Int[Tensor, " batch"]  # row of each image in the training images
    epoch: int  # counted from 1


@dataclass(frozen=True)
class LossContext:
    """What a loss may know when it is made."""

    student: Classifier  # in any mode
    teacher: Classifier  # frozen
    labels: Int[Tensor, " images"]  # class of every training image, by row


class Loss(nn.Module, ABC):
    """How far a student is from its teacher on a batch; what it owns (a regressor) trains along.

    Attributes:
        student_taps: Layers of the student that it reads.
        teacher_taps: Layers of the teacher that it reads.
        reads_logits: Whether it reads the teacher's logits.
        exclusive_epochs: First epochs, in which it alone is minimised; left out after. 0: in the sum throughout.
        options: Its block of params.yaml, if it was made of it.
    """

    student_taps: tuple[Tap, ...] = ()
    teacher_taps: tuple[Tap, ...] = ()
    reads_logits: bool = True
    exclusive_epochs: int = 0

    def __init__(self, options: Any = None, context: LossContext | None = None) -> None:
        super().__init__()
        self.options = options

    @abstractmethod
    def forward(self, batch: DistillBatch) -> Float[Tensor, ""]:
        """The mean over the images of the batch; no gradient reaches the teacher."""


def compared(loss: Loss, batch: DistillBatch, *, probe: bool) -> Float[Tensor, ""]:
    """What a loss says of a batch; a UserError if that is not one number, or `probe` finds no student in it."""
    value, name = loss(batch), type(loss).__module__.rpartition(".")[2]
    require_array(f"loss {name}: the mean over a batch", value, (), "float")
    given = [output for output in (batch.student.logits, *batch.student.features.values()) if output is not None]
    learning = [output for output in given if output.requires_grad]
    if probe and learning:
        if not value.isfinite() and all(output.isfinite().all() for output in given):
            raise UserError(f"loss {name} gives {value.item()}, though the student's outputs are finite")
        found: tuple[Tensor | None, ...] = ()
        if value.requires_grad:
            found = torch.autograd.grad(value, learning, retain_graph=True, allow_unused=True)
        if all(gradient is None for gradient in found):
            raise UserError(f"loss {name} does not depend on the student, so nothing can be learnt from it")
    return value


def shape(model: Classifier, name: str) -> tuple[int, ...]:
    """Shape of what a layer gives for one image: (channels, height, width).

    Of a VGG it is known: to run one without memory, as `plan` has them, makes torch load its compiler first.
    """
    if isinstance(model.spec, VGGSpec) and (known := vgg_maps(model.spec).get(name)):
        return known
    size = model.spec.image_size
    image = torch.zeros(1, 3, size, size, device=next(model.parameters()).device)
    with evaluating(model), torch.no_grad():
        return tuple(as_maps(outputs_of(model, [name], image)[name]).shape[1:])


def as_maps(output: Tensor) -> Float[Tensor, "batch channels height width"]:
    """What a layer gives as maps: tokens of a transformer are places of a map that is one wide, a vector is one."""
    if output.dim() == 3:
        return output.transpose(1, 2)[..., None]
    return output[..., None, None] if output.dim() == 2 else output


def read(layers: Mapping[str, Tensor], wanted: Iterable[Tap], batch: Batch) -> dict[Tap, Tensor]:
    """The taps' features of the whole batch, in 32-bit floats, from what the layers give for a process's own images."""
    features = {tap: as_maps(layers[tap.layer]) for tap in wanted}
    pooled = {tap: maps.mean(dim=(2, 3)) if tap.pooled else maps for tap, maps in features.items()}
    return {tap: batch.whole(feature.float()) for tap, feature in pooled.items()}
