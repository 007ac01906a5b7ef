"""A training on paper: what params.yaml says of it, the optimizer and learning rates it means, the record it leaves.

Free of torch until an optimizer is asked for, so that plan can check every recipe.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from deepcompress.data.augment import Augment
from deepcompress.errors import UserError
from deepcompress.models.spec import Model
from deepcompress.params import Section

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from torch import nn

FIRST_SHARE = 1 / 25  # of the highest learning rate, at the start of one_cycle
LAST_SHARE = FIRST_SHARE / 1e4  # and at its end


class SharedRecipe(Section):
    """What all trainings share: the section `recipe`."""

    # `all`, or `head`: the last linear layer alone; what is frozen stays in evaluation mode.
    trainable: Literal["all", "head"]
    batch_size: int = Field(ge=1, le=1_000_000)  # images per step
    optimizer: Literal["adam", "adamw", "sgd"]  # its update rule; see `optimizer`
    weight_decay: float = Field(ge=0, allow_inf_nan=False)  # see `optimizer` for what it acts on
    # How the learning rate moves from step to step; see `learning_rate`.
    schedule: Literal["constant", "cosine", "one_cycle"]
    momentum: float = Field(default=0.9, ge=0, lt=1)  # of sgd; the others ignore it
    # Of one_cycle: the share of steps in which the learning rate rises.
    warmup_fraction: float = Field(default=0.2, ge=0, lt=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)  # share of the target that is spread over all classes
    # Decay of the moving average over steps that is measured and kept in place of the weights themselves, such as 0.99:
    # about 1 / (1 - decay) steps count; None: no average.
    average: float | None = Field(default=None, gt=0, lt=1)
    # The weights to keep: the last epoch's, or those of the epoch with the best validation top-1 (of equal ones the
    # earliest).
    keep: Literal["last", "best_validation"] = "last"
    # With `head`: memory that the frozen layers' output for the training images, or for the validation images, may take
    # [MiB]; above it goes to a file.
    feature_budget_mib: int = Field(default=512, ge=0)
    augment: Augment = Augment()  # random changes of the training images


class Recipe(SharedRecipe):
    """How one model is trained; what its block does not say, the section `recipe` says (see params.SHARED)."""

    epochs: int = Field(ge=1, le=100_000)  # passes over the training images
    learning_rate: float = Field(gt=0, allow_inf_nan=False)  # the highest of the schedule


class Network(Model):
    """A network and how it is trained: the keys of the `model` section, and `recipe`."""

    recipe: Recipe


def optimizer(recipe: Recipe, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer of a recipe, in torch's fused form; frozen parameters are left out.

    `adam` and `sgd` decay every parameter by an L2 term in the gradient, as the source report and the usual
    CIFAR recipes do. `adamw` decays the weights themselves, and only those of two dimensions or more: not
    biases, nor the scale and shift of batch norm. A UserError if all parameters are frozen.

    Source: Loshchilov and Hutter, ICLR 2019, https://arxiv.org/abs/1711.05101 (adamw); decay of weights alone
    as in Goyal et al., 2017, https://arxiv.org/abs/1706.02677, section 5.3.
    """
    import torch

    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if not trained:
        raise UserError("all parameters of this network are frozen (requires_grad is False), so nothing can train")
    common: dict[str, Any] = {"lr": recipe.learning_rate, "fused": True}
    if recipe.optimizer == "adamw":
        groups = [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": recipe.weight_decay},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW([group for group in groups if group["params"]], **common)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(trained, weight_decay=recipe.weight_decay, **common)
    made = torch.optim.SGD(trained, momentum=recipe.momentum, weight_decay=recipe.weight_decay, **common)
    if recipe.momentum:  # fused SGD fails where some parameters get their first gradient later than others
        for parameter in trained:
            made.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return made


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate of a step, counted from 0: of it alone, so that a resumed run needs no state for it.

    `constant` stays; `cosine` falls from the highest towards 0; `one_cycle` rises from 1/25 of the highest in
    the share `warmup_fraction` of the steps, then falls to 1/250,000, both along half a cosine. Momentum is
    left alone.

    Source: Smith and Topin, 2018, https://arxiv.org/abs/1708.07120, with the shares and the cosine of
    torch.optim.lr_scheduler.OneCycleLR; Loshchilov and Hutter, ICLR 2017, https://arxiv.org/abs/1608.03983,
    equation 5, without restarts.
    """
    if recipe.schedule == "constant":
        return recipe.learning_rate
    if recipe.schedule == "cosine":
        return recipe.learning_rate * _half_cosine(step / steps, 1.0, 0.0)
    peak = max(recipe.warmup_fraction * steps - 1, 0.0)
    if step < peak:
        return recipe.learning_rate * _half_cosine(step / peak, FIRST_SHARE, 1.0)
    falling = steps - 1 - peak or 1.0  # 1: a single step, at the highest rate
    return recipe.learning_rate * _half_cosine((step - peak) / falling, 1.0, LAST_SHARE)


def _half_cosine(share: float, start: float, end: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


@dataclass(frozen=True)
class Epoch:
    """One pass over the training images and the measurement after it."""

    epoch: int  # counted from 1
    train_loss: float  # mean over the images, each as the model was when it saw it
    learning_rate: float  # of the last step
    validation_top1_pct: float  # right answers [%]
    validation_loss: float  # cross-entropy [nats], whatever the training minimises


@dataclass
class History:
    """The epochs of one training, in order."""

    epochs: list[Epoch] = field(default_factory=list)

    def best(self) -> Epoch:
        """The epoch with the highest validation top-1; of equal ones the earliest."""
        return max(self.epochs, key=lambda epoch: epoch.validation_top1_pct)

    def rows(self) -> list[dict[str, Any]]:
        """Plain values, one mapping per epoch."""
        return [asdict(epoch) for epoch in self.epochs]

    def frame(self) -> pd.DataFrame:
        """The table that a stage writes as CSV."""
        import pandas as pd

        return pd.DataFrame(self.rows(), columns=[column.name for column in fields(Epoch)])
