"""The only training loop: every stage that changes weights by gradients runs it.

What differs between methods is given to it: an objective, a recipe, the batches, and a function to call after
each step. Everything random in an epoch follows from (seed, epoch), so that a run that was interrupted and
taken up again ends with the same bits as one that was not.

Here, in reading order: what training minimises, one change of the weights, the loop, and the state from which an
interrupted one goes on (a file, replaced after every epoch; a damaged one counts as absent).
"""

from __future__ import annotations

import io
import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from deepcompress import files, runtime
from deepcompress.data.batches import Batch, Shard
from deepcompress.errors import UserError
from deepcompress.measure import accuracy
from deepcompress.models.vgg import prunable_layers
from deepcompress.runtime import COMPILES, derived_seed
from deepcompress.training.recipe import Epoch, History, Recipe, learning_rate, optimizer
from deepcompress.training.whole_batch import WholeBatchNorm, WholeDropout, synchronized

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float, Int
    from lightning_fabric import Fabric

    from deepcompress.training.run import TrainingData

log = logging.getLogger(__name__)
STATE_FILE = "state.pt"
STEPS_BETWEEN_CHECKS = 50  # of the loss; each check waits for the device
SMALL_BATCH = (
    "a batch of one image cannot train this network, because batch norm sees a single value per channel; set "
    "batch_size in this stage's section of params.yaml to 2 or more"
)
CHANGING = "does not have a deterministic implementation"  # of torch's message, behind the name of an operation


class Objective(nn.Module, ABC):
    """Turns a model and a batch into one number to minimise.

    Modules that it owns (a regressor between student and teacher) are moved to the device, trained and kept
    in the state of an interrupted run along with the model, but are no part of it. A module whose parameters
    are all frozen (a teacher) is put into evaluation mode.
    """

    # Whether in some steps it gives no gradient to parts of the model or of what it owns.
    find_unused_parameters: bool = False
    needs_hooks: bool = False  # whether it reads what layers inside the model give, by hooks

    @abstractmethod
    def forward(self, model: nn.Module, batch: Batch) -> Float[Tensor, ""]:
        """The mean loss over the images of the whole batch.

        Of several processes each has some of the images: what a model gives goes through `batch.whole` before
        it is compared, and every process computes the same loss.
        """


class CrossEntropy(Objective):
    """What `Batch.cross_entropy` says."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, model: nn.Module, batch: Batch) -> Float[Tensor, ""]:
        return batch.cross_entropy(batch.whole(model(batch.images)), self.label_smoothing)


class ModelWithLoss(nn.Module):
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
        self.find_unused_parameters = objective.find_unused_parameters
        # In a tuple, or the compiled module would be one of this module's own, with a second name for each weight.
        self._runs: tuple[Any] = (_compiled(model) if compiles else model,)

    def forward(
        self,
        images: Tensor,
        labels: Int[Tensor, " batch"],
        indices: Int[Tensor, " batch"],
        others: Int[Tensor, " batch"] | None,
        own_share: Float[Tensor, " batch"] | None,
    ) -> Float[Tensor, ""]:
        if self._shard is not None:
            for layer in self.model.modules():
                if isinstance(layer, WholeDropout):
                    layer.rows = len(labels)
        return self.objective(self._runs[0], Batch(images, labels, indices, self._shard, others, own_share))


def _compiled(model: nn.Module) -> Any:
    """As torch.compile makes it, by algorithms that give the same bits twice.

    Synchronized layers run as they are, since processes talk to each other in them. Nothing else may load the
    compiler, which takes two seconds.
    """
    torch.use_deterministic_algorithms(True)
    for layer in (WholeBatchNorm, WholeDropout):
        layer.forward = torch.compiler.disable(layer.forward)  # type: ignore[method-assign]
    return torch.compile(model, dynamic=False)


def can_compile(model: nn.Module, objective: Objective) -> bool:
    """Whether torch.compile may take the model: nobody hooks its layers, and no weight is rounded on the way in.

    Where it may not, the model runs as it is, and the log says so.
    """
    reasons = {
        "the objective reads layers inside it": objective.needs_hooks,
        "its weights are rounded in every step": any(map(is_parametrized, model.modules())),
    }
    for reason in (reason for reason, holds in reasons.items() if holds):
        log.info("train.compile: the network runs as it is, because %s", reason)
    return not any(reasons.values())


def head(model: nn.Module) -> nn.Linear:
    """The last linear layer that runs; a UserError if there is none."""
    linear = [layer for layer in prunable_layers(model).values() if isinstance(layer, nn.Linear)]
    if not linear:
        raise UserError("trainable: head trains the last linear layer alone, and this network has none; it must be all")
    return linear[-1]


class Stepper:
    """Moves model and objective to Fabric's device and channels_last memory and trains them, batch by batch.

    With `trainable: head` all but the model's head is frozen.
    """

    def __init__(self, model: nn.Module, objective: Objective, recipe: Recipe, fabric: Fabric) -> None:
        self.model, self._fabric, self._head_only = model, fabric, recipe.trainable == "head"
        if self._head_only:
            model.requires_grad_(False)
            head(model).requires_grad_(True)
        module = ModelWithLoss(model, objective, compiles=getattr(fabric, COMPILES) and can_compile(model, objective))
        module.to(device=fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._module, self._optimizer = fabric.setup(module, optimizer(recipe, module.parameters()))
        # All whose state is needed to go on with the same bits.
        self.stateful: dict[str, Any] = {
            "weights": self._module,
            "optimizer": self._optimizer,
            "precision": fabric.strategy.precision,
        }

    def set_modes_(self) -> None:
        """Training mode for what trains; what is frozen neither drops out nor gathers batch statistics."""
        self._module.train()
        for module in self._module.modules():
            parameters = list(module.parameters())
            if parameters and not any(parameter.requires_grad for parameter in parameters):
                module.eval()
        if self._head_only:
            self.model.eval()

    def step_(self, batch: Batch, learning_rate: float) -> Float[Tensor, ""]:
        """Change the weights once; returns the loss before, on the device, so that nothing waits for it."""
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        loss = self._module(batch.images, batch.labels, batch.indices, batch.others, batch.own_share)
        self._fabric.backward(loss)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return loss.detach()


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
        seed: Decides all that is random here, such as dropout.
        resume_folder: Where the state is kept after each epoch and looked for at the start; see
            `run.resume_folder`. The caller clears it once the results are written, so that a run killed before that
            does not train again. None: an interrupted run starts over.
        after_step: Is called after each change of the weights, as masks need it.

    Returns:
        A row per epoch, those of an interrupted run included.

    Raises:
        UserError: If the loss is not finite any more, a batch is too small for batch norm, or the device has no way to
            compute a layer that gives the same bits twice.
    """
    run = _Run(Stepper(model, objective, recipe, fabric), data, recipe, fabric)
    state = load_state(resume_folder) if resume_folder else None
    if state:
        run.load_(state)
        log.info("taken up after epoch %d of %d", len(run.history.epochs), recipe.epochs)
    done, steps = len(run.history.epochs), len(data.train)
    disable = None if runtime.is_first() else True
    bar = tqdm(total=recipe.epochs * steps, initial=done * steps, desc="train", unit="step", disable=disable)
    quiet = nullcontext() if bar.disable else logging_redirect_tqdm()
    with bar, quiet, synchronized([model, run.kept], run.shard):
        for number in range(done, recipe.epochs):
            torch.manual_seed(derived_seed(seed, "epoch", number))
            with _in_plain_words(fabric.device.type):
                run.epoch_(number, after_step, bar)
            if resume_folder:
                save_state(resume_folder, run.state())
    run.finish_()
    return run.history


@contextmanager
def _in_plain_words(device: str) -> Iterator[None]:
    """What torch says of a network that cannot train here, as an error that tells what to do."""
    try:
        yield
    except ValueError as error:
        if "value per channel" not in str(error):
            raise
        raise UserError(SMALL_BATCH) from None
    except RuntimeError as error:
        operation, found, _ = str(error).partition(CHANGING)
        if not found:
            raise
        raise UserError(
            f"{operation.strip()} gives other bits at every run on {device}; put another layer in its place in your "
            "network, or set train.device to cpu"
        ) from None


def save_state(place: Path, state: dict[str, Any]) -> None:
    """Write tensors, numbers, text, lists and dicts, whole or not at all; of several processes the first alone does."""
    if runtime.is_first():
        content = io.BytesIO()  # torch.save to a file tells of a full disk by a RuntimeError
        torch.save(state, content)
        files.write_checked(place / STATE_FILE, content.getvalue())


def load_state(place: Path) -> dict[str, Any] | None:
    """The state that `save_state` wrote, on the CPU; None if there is none, or if it is damaged.

    Of several processes the first reads it, for all.
    """

    def read() -> dict[str, Any] | None:
        content = files.read_checked(place / STATE_FILE)
        return None if content is None else torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)

    return runtime.from_first(read)


def moving_average(decay: float) -> Callable[[Any, Any, Any], None]:
    """Torch's update of the averages of some tensors of one type, but for counts, indices and masks.

    Of these the last ones are taken: 0.9 * 7 + 0.1 * 7 may be a little less than 7, and then its whole part is 6.
    """
    of_floats = get_ema_multi_avg_fn(decay)

    def update_(averages: Any, values: Any, updates: Any) -> None:
        if averages[0].is_floating_point():
            of_floats(averages, values, updates)
            return
        for average, value in zip(averages, values, strict=True):
            average.copy_(value)

    return update_


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
    average: AveragedModel | None = None

    def __post_init__(self) -> None:
        self.stateful = self.stepper.stateful
        if self.recipe.average is not None:
            moving = moving_average(self.recipe.average)
            self.average = AveragedModel(self.stepper.model, multi_avg_fn=moving, use_buffers=True).eval()
            self.stateful = {**self.stateful, "average": self.average}

    @property
    def kept(self) -> nn.Module:
        """What is measured and kept: the model, or its average over the steps."""
        return self.stepper.model if self.average is None else self.average.module

    def epoch_(self, number: int, after_step: Callable[[], None] | None, bar: tqdm) -> None:
        """Train one epoch, counted from 0, measure, and add a row to the history."""
        start = time.perf_counter()
        loss, rate = self._train_(number, after_step, bar)
        row = self._measured_(number + 1, loss, rate)
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
            if self.average is not None:
                self.average.update_parameters(self.stepper.model)
            if len(losses) % STEPS_BETWEEN_CHECKS == 0:
                _require_finite(losses[-1].item(), number + 1, rate)
            bar.update()
        weights = torch.tensor(sizes).double() / sum(sizes)
        loss = (torch.stack(losses).cpu().double() @ weights).item()
        _require_finite(loss, number + 1, rate)
        return loss, rate

    def _measured_(self, epoch: int, train_loss: float, rate: float) -> Epoch:
        """Measure, add a row to the history, and keep the weights if they are the best so far."""
        with self.fabric.autocast():
            logits, labels = accuracy.logits(self.kept, self.data.validation, self.shard)
        top1_pct = 100 * accuracy.top_k_correct(logits, labels).double().mean().item()
        loss = accuracy.cross_entropy(logits, labels)
        _require_finite(loss, epoch, rate)
        row = Epoch(epoch, train_loss, rate, top1_pct, loss)
        self.history.epochs.append(row)
        if self.recipe.keep == "best_validation" and self.history.best() is row:
            state = self.kept.state_dict()
            self.best_weights = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
        return row

    def state(self) -> dict[str, Any]:
        """What `load_` needs to go on after the last epoch: tensors themselves, not copies."""
        done = {"history": self.history.rows(), "best_weights": self.best_weights}
        return {name: part.state_dict() for name, part in self.stateful.items()} | done

    def load_(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        for name, part in self.stateful.items():
            part.load_state_dict(state[name])
        self.history = History([Epoch(**row) for row in state["history"]])
        self.best_weights = state["best_weights"]

    def finish_(self) -> None:
        """Put the weights to keep into the model."""
        if self.best_weights or self.average is not None:
            self.stepper.model.load_state_dict(self.best_weights or self.kept.state_dict())
        if self.best_weights:
            log.info("kept the weights of epoch %d", self.history.best().epoch)
        self.stepper.model.eval()


def _require_finite(loss: float, epoch: int, rate: float) -> None:
    if not math.isfinite(loss):
        raise UserError(
            f"training diverged: the loss is {loss} in epoch {epoch} at a learning rate of {rate:.3g}; "
            "lower learning_rate in this stage's section of params.yaml"
        )
