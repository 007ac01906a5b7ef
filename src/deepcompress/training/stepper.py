"""One change of the weights: model, objective and optimizer as Fabric runs them, and their state."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from deepcompress.data.batches import Batch, Shard
from deepcompress.runtime import COMPILES
from deepcompress.training import frozen
from deepcompress.training.recipe import optimizer
from deepcompress.training.synchronized import set_rows_

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from lightning_fabric import Fabric
    from torch import Tensor

    from deepcompress.training.objective import Objective
    from deepcompress.training.recipe import Recipe


log = logging.getLogger(__name__)


class Together(nn.Module):
    """Model and objective as one module, so that a strategy such as DDP sees all that trains and one forward.

    Takes tensors, not a Batch: Fabric casts what it is given, and cannot do so inside a frozen dataclass.

    Args:
        model: What trains.
        objective: Runs the model and compares.
        compiles: Whether the objective gets the model as torch.compile makes it. Its weights, their names and all
            who look into the model see it as it is. One program per size of batch: there are two at most.
    """

    def __init__(self, model: nn.Module, objective: Objective, *, compiles: bool = False) -> None:
        super().__init__()
        self.model, self.objective, self._shard = model, objective, Shard.own()
        self.leaves_out = objective.leaves_out
        # In a tuple, or the compiled module would be one of this module's own, with a second name for each weight.
        self._runs: tuple[Any] = (torch.compile(model, dynamic=False) if compiles else model,)

    def forward(
        self, images: Tensor, labels: Int[Tensor, " batch"], indices: Int[Tensor, " batch"]
    ) -> Float[Tensor, ""]:
        if self._shard is not None:
            set_rows_(self.model, len(labels))
        return self.objective(self._runs[0], Batch(images, labels, indices, self._shard))


def can_compile(model: nn.Module, objective: Objective) -> bool:
    """Whether torch.compile may take the model: nobody hooks its layers, and no weight is rounded on the way in.

    Where it may not, the model runs as it is, and the log says so.
    """
    reasons = {
        "the objective reads layers inside it": objective.reads_layers,
        "its weights are rounded in every step": any(map(is_parametrized, model.modules())),
    }
    for reason in (reason for reason, holds in reasons.items() if holds):
        log.info("train.compile: the network runs as it is, because %s", reason)
    return not any(reasons.values())


class Stepper:
    """Moves model and objective to Fabric's device and trains them, batch by batch.

    Args:
        model: Goes to channels_last memory; with `trainable: head` all but its head is frozen.
        objective: What to minimise.
        recipe: Names the optimizer and what trains.
        fabric: Gives device, precision and processes.
    """

    def __init__(self, model: nn.Module, objective: Objective, recipe: Recipe, fabric: Fabric) -> None:
        if recipe.trainable == "head":
            frozen.freeze_(model)
        self.model, self._fabric, self._head_only = model, fabric, recipe.trainable == "head"
        together = Together(model, objective, compiles=getattr(fabric, COMPILES) and can_compile(model, objective))
        together.to(device=fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._together, self._optimizer = fabric.setup(together, optimizer(recipe, together.parameters()))

    def set_modes_(self) -> None:
        """Training mode for what trains; what is frozen neither drops out nor gathers batch statistics."""
        self._together.train()
        for module in self._together.modules():
            parameters = list(module.parameters())
            if parameters and not any(parameter.requires_grad for parameter in parameters):
                module.eval()
        if self._head_only:
            self.model.eval()

    def step_(self, batch: Batch, learning_rate: float) -> Float[Tensor, ""]:
        """Change the weights once; returns the loss before, on the device, so that nothing waits for it."""
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        loss = self._together(batch.images, batch.labels, batch.indices)
        self._fabric.backward(loss)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def state(self) -> dict[str, Any]:
        """What `load_` needs to go on with the same bits: the tensors themselves, not copies."""
        return {
            "weights": self._together.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "precision": self._fabric.strategy.precision.state_dict(),
        }

    def load_(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        self._together.load_state_dict(state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._fabric.strategy.precision.load_state_dict(state["precision"])
