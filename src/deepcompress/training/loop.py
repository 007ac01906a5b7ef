"""The only training loop: every stage that changes weights by gradients runs it.

What differs between methods is given to it: an objective, a recipe, the batches, and a function to call after
each step. Everything random in an epoch follows from (seed, epoch), so that a run that was interrupted and
taken up again ends with the same bits as one that was not.
"""

from __future__ import annotations

import logging
import math
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from deepcompress import processes
from deepcompress.data.batches import Shard
from deepcompress.errors import UserError
from deepcompress.measure import accuracy
from deepcompress.runtime import derived_seed
from deepcompress.training import resume
from deepcompress.training.history import Epoch, History
from deepcompress.training.recipe import learning_rate
from deepcompress.training.stepper import Stepper
from deepcompress.training.synchronized import synchronized

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lightning_fabric import Fabric
    from torch import Tensor, nn

    from deepcompress.training.inputs import TrainingData
    from deepcompress.training.objective import Objective
    from deepcompress.training.recipe import Recipe

log = logging.getLogger(__name__)
STEPS_BETWEEN_CHECKS = 50  # of the loss; each check waits for the device


def train(
    model: nn.Module,
    objective: Objective,
    data: TrainingData,
    recipe: Recipe,
    *,
    fabric: Fabric,
    seed: int,
    resume_folder: Path | None = None,
    after_step: Callable[[], None] | None = None,
) -> History:
    """Train a model in place.

    Args:
        model: Is moved to Fabric's device and to channels_last memory, and left in evaluation mode. With
            `trainable: head` all but its last linear layer is frozen and in evaluation mode throughout.
        objective: What to minimise; what it owns trains along.
        data: Batches on Fabric's device.
        recipe: Everything that params.yaml says of it.
        fabric: Gives device, precision and processes.
        seed: Decides all that is random here, such as dropout.
        resume_folder: Where the state is kept after each epoch and looked for at the start; see
            `resume.folder`. None: an interrupted run starts over.
        after_step: Is called after each change of the weights, as masks need it.

    Returns:
        A row per epoch, those of an interrupted run included.

    Raises:
        UserError: If the loss is not finite any more.
    """
    run = _Run(Stepper(model, objective, recipe, fabric), data, recipe, fabric)
    state = resume.load(resume_folder) if resume_folder else None
    if state:
        run.load_(state)
        log.info("taken up after epoch %d of %d", run.epochs_done, recipe.epochs)
    done, steps = run.epochs_done * len(data.train), recipe.epochs * len(data.train)
    bar = tqdm(total=steps, initial=done, desc="train", unit="step", disable=None if processes.is_first() else True)
    quiet = nullcontext() if bar.disable else logging_redirect_tqdm()
    with bar, quiet, synchronized(model, run.shard):
        for number in range(run.epochs_done, recipe.epochs):
            torch.manual_seed(derived_seed(seed, "epoch", number))
            run.epoch_(number, after_step, bar)
            if resume_folder and number + 1 < recipe.epochs:
                resume.save(resume_folder, run.state())
    if resume_folder:
        resume.clear(resume_folder)
    run.finish_()
    return run.history


@dataclass
class _Run:
    """One training and what it has come to."""

    stepper: Stepper
    data: TrainingData
    recipe: Recipe
    fabric: Fabric
    history: History = field(default_factory=History)
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    shard: Shard | None = field(default_factory=Shard.own)

    @property
    def epochs_done(self) -> int:
        return len(self.history.epochs)

    def epoch_(self, number: int, after_step: Callable[[], None] | None, bar: tqdm) -> None:
        """Train one epoch, counted from 0, measure, and add a row to the history."""
        start = time.perf_counter()
        loss, rate = self._train_(number, after_step, bar)
        row = self._measured(number + 1, loss, rate)
        self._add_(row)
        seconds = time.perf_counter() - start
        log.info(
            "epoch %d of %d: train loss %.4f, validation loss %.4f, top-1 %.2f %%, %.1f s, %.0f images/s",
            *(row.epoch, self.recipe.epochs, row.train_loss, row.validation_loss, row.validation_top1_pct),
            *(seconds, self.data.train.size / seconds),
        )

    def _train_(self, number: int, after_step: Callable[[], None] | None, bar: tqdm) -> tuple[float, float]:
        """One pass over the training images; returns their mean loss and the last learning rate."""
        losses, sizes, rate = [], [], 0.0
        batches, steps = self.data.train, len(self.data.train) * self.recipe.epochs
        self.stepper.set_modes_()
        for step, batch in enumerate(batches.epoch(number, self.shard), number * len(batches)):
            rate = learning_rate(self.recipe, step, steps)
            losses.append(self.stepper.step_(batch, rate))
            sizes.append(len(batch.labels))
            if after_step:
                after_step()
            if len(losses) % STEPS_BETWEEN_CHECKS == 0:
                _require_finite(losses[-1].item(), number + 1, rate)
            bar.update()
        weights = torch.tensor(sizes).double() / sum(sizes)
        loss = (torch.stack(losses).cpu().double() @ weights).item()
        _require_finite(loss, number + 1, rate)
        return loss, rate

    def _measured(self, epoch: int, train_loss: float, rate: float) -> Epoch:
        with self.fabric.autocast():
            logits, labels = accuracy.logits(self.stepper.model, self.data.validation, self.shard)
        top1_pct = 100 * accuracy.top_k_correct(logits, labels).double().mean().item()
        loss = accuracy.cross_entropy(logits, labels)
        _require_finite(loss, epoch, rate)
        return Epoch(epoch, train_loss, rate, top1_pct, loss)

    def _add_(self, row: Epoch) -> None:
        self.history.epochs.append(row)
        if self.recipe.keep == "best_validation" and self.history.best() is row:
            state = self.stepper.model.state_dict()
            self.best_weights = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}

    def state(self) -> dict[str, Any]:
        """What `load_` needs to go on after the last epoch."""
        done = {"history": self.history.rows(), "best_weights": self.best_weights}
        return {**self.stepper.state(), **done}

    def load_(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        self.stepper.load_(state)
        self.history = History.from_rows(state["history"])
        self.best_weights = state["best_weights"]

    def finish_(self) -> None:
        """Put the weights to keep into the model."""
        if self.best_weights:
            self.stepper.model.load_state_dict(self.best_weights)
            log.info("kept the weights of epoch %d", self.history.best().epoch)
        self.stepper.model.eval()


def _require_finite(loss: float, epoch: int, rate: float) -> None:
    if not math.isfinite(loss):
        raise UserError(
            f"training diverged: the loss is {loss} in epoch {epoch} at a learning rate of {rate:.3g}; "
            "lower learning_rate in this stage's section of params.yaml"
        )
