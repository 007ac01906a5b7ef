"""A student of a teacher that runs on every batch, as a course's loop has it.

Losses are as their authors' code has them: RepDistiller's KD and CRD, mdistiller's DKD, and MSE.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.plain.images import Data
from benchmarks.plain.networks import VGG
from benchmarks.plain.training import train_
from deepcompress.distillation.losses.crd import Negatives

EPSILON = 1e-7
HINTS = {"vgg11": 11, "vgg16": 17, "vgg19": 19}  # the first convolution of the fourth block, as in the report
NAMES = {  # of what CRD remembers, in the pipeline's file of starting weights; what it trains is called the same
    "student_memory.rows": "memory_student",
    "teacher_memory.rows": "memory_teacher",
}


class Observed:
    """A network whose hint layer and last map are noted in every forward pass."""

    def __init__(self, network: VGG, arch: str) -> None:
        self.network = network
        self.hint_channels = network.features[HINTS[arch]].out_channels
        self.channels = [one for one in network.features if isinstance(one, nn.Conv2d)][-1].out_channels
        self.seen: dict[str, Tensor] = {}
        # A copy, because the ReLU behind the convolution works in place.
        network.features[HINTS[arch]].register_forward_hook(lambda *call: self.seen.update(hint=call[-1].clone()))
        network.features.register_forward_hook(lambda *call: self.seen.update(last=call[-1]))

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, hint maps, pooled last maps."""
        logits = self.network(images)
        return logits, self.seen["hint"], self.seen["last"].mean((2, 3))


def distil_(
    networks: tuple[Observed, Observed], data: Data, method: str, settings: dict[str, Any], start: Path, *, seed: int
) -> list[int]:
    """Train the first network in place; the second is its teacher, `start` the file of what the loss trains and keeps.

    Returns:
        Validation images answered right after each epoch.
    """
    student, teacher = networks
    recipe, options = settings["student"]["recipe"], settings["methods"][method]
    helper, distance = _lesson(method, networks, data, options, start)
    teacher.network.requires_grad_(False).eval()

    def loss(images: Tensor, labels: Tensor, rows: Tensor, epoch: int) -> Tensor:
        ours = student(images)
        with torch.no_grad():
            theirs = teacher(images)
        loss = options["weight"] * distance(ours, theirs, labels, rows, epoch)
        return loss + options["cross_entropy"] * F.cross_entropy(ours[0], labels)

    trained = [*student.network.parameters(), *helper.parameters()]
    groups = [  # biases are not decayed
        {"params": [one for one in trained if one.ndim >= 2], "weight_decay": recipe["weight_decay"]},
        {"params": [one for one in trained if one.ndim < 2], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=recipe["learning_rate"])
    return train_(student.network, loss, adamw, data, recipe, seed=seed, mode=True)


def _lesson(
    method: str, networks: tuple[Observed, Observed], data: Data, options: dict[str, Any], start: Path
) -> tuple[nn.Module, Callable[..., Tensor]]:
    """What the loss of a method trains along with the student, and that loss.

    It takes the student's logits, hint maps and pooled maps, the teacher's, labels, rows and the epoch.
    """
    student, teacher = networks
    if method == "hint":
        regressor = nn.Conv2d(student.hint_channels, teacher.hint_channels, kernel_size=1)
        regressor.load_state_dict({key.removeprefix("regressor."): one for key, one in load_file(start).items()})
        return regressor, lambda ours, theirs, *_: F.mse_loss(regressor(ours[1]), theirs[1])
    if method == "crd":
        crd = CRD((student.channels, teacher.channels), torch.from_numpy(data.train.labels), options)
        given = {NAMES.get(key, key): one for key, one in load_file(start).items()}
        missing = crd.load_state_dict(given, strict=False).missing_keys
        assert not missing, missing
        return crd, lambda ours, theirs, labels, rows, _: crd(ours[2], theirs[2], labels, rows)
    if method == "dkd":
        return nn.Module(), lambda ours, theirs, labels, _, epoch: dkd(ours[0], theirs[0], labels, epoch, options)
    of_logits = {"logit": logit, "smoothed_logits": smoothed_logits}[method]
    return nn.Module(), lambda ours, theirs, *_: of_logits(ours[0], theirs[0], options)


def logit(student: Tensor, teacher: Tensor, options: dict[str, Any]) -> Tensor:
    """RepDistiller's KD.py."""
    heat = options["temperature"]
    return heat**2 * F.kl_div((student / heat).log_softmax(1), (teacher / heat).softmax(1), reduction="batchmean")


def smoothed_logits(student: Tensor, teacher: Tensor, options: dict[str, Any]) -> Tensor:
    """The same with a share of the teacher's answer spread over all classes."""
    heat, share = options["temperature"], options["smoothing"]
    target = (1 - share) * (teacher / heat).softmax(1) + share / teacher.shape[1]
    return heat**2 * F.kl_div((student / heat).log_softmax(1), target, reduction="batchmean")


def dkd(student: Tensor, teacher: Tensor, labels: Tensor, epoch: int, options: dict[str, Any]) -> Tensor:
    """mdistiller's DKD.py."""
    heat = options["temperature"]
    own = F.one_hot(labels, student.shape[1]).bool()
    ours, theirs = (_own_and_rest((logits / heat).softmax(1), own) for logits in (student, teacher))
    target = F.kl_div(ours.log(), theirs, reduction="batchmean")
    ours, theirs = (logits / heat - 1000.0 * own for logits in (student, teacher))
    others = F.kl_div(ours.log_softmax(1), theirs.softmax(1), reduction="batchmean")
    warmth = min(epoch / max(options["warmup_epochs"], 1), 1.0)
    return warmth * heat**2 * (options["alpha"] * target + options["beta"] * others)


class CRD(nn.Module):
    """RepDistiller's crd/criterion.py and memory.py; images of other classes are drawn as the pipeline draws them.

    `channels` are those of student's and teacher's pooled features, `labels` of all training images.
    """

    def __init__(self, channels: tuple[int, int], labels: Tensor, options: dict[str, Any]) -> None:
        super().__init__()
        self.embed_student, self.embed_teacher = (nn.Linear(inputs, options["width"]) for inputs in channels)
        for name in ("memory_student", "memory_teacher"):
            self.register_buffer(name, torch.zeros(len(labels), options["width"]))
        self.negatives, self.options = Negatives(labels, options["negatives"]), options
        self.constants: dict[str, Tensor] = {}

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        """The sum of both sides' losses; moves the memories."""
        student, teacher = F.normalize(self.embed_student(student)), F.normalize(self.embed_teacher(teacher))
        drawn = torch.cat([rows[:, None], self.negatives(labels, rows)], 1)
        loss = self._side(student, "memory_teacher", drawn) + self._side(teacher, "memory_student", drawn)
        with torch.no_grad():
            for name, embedded in (("memory_student", student), ("memory_teacher", teacher)):
                memory, momentum = getattr(self, name), self.options["momentum"]
                moved = momentum * memory.index_select(0, rows) + (1 - momentum) * embedded
                memory.index_copy_(0, rows, F.normalize(moved))
        return loss

    def _side(self, embedded: Tensor, name: str, drawn: Tensor) -> Tensor:
        memory = getattr(self, name)
        held = memory.index_select(0, drawn.view(-1)).view(*drawn.shape, -1)
        scores = (torch.bmm(held, embedded[..., None])[..., 0] / self.options["temperature"]).exp()
        if name not in self.constants:
            self.constants[name] = scores.mean().detach() * len(memory)
        likely, noise = scores / self.constants[name], self.options["negatives"] / len(memory)
        positive = likely[:, 0] / (likely[:, 0] + noise + EPSILON)
        negative = noise / (likely[:, 1:] + noise + EPSILON)
        return -(positive.log().sum() + negative.log().sum()) / len(embedded)


def _own_and_rest(shares: Tensor, own: Tensor) -> Tensor:
    return torch.stack([(shares * own).sum(1), (shares * ~own).sum(1)], 1)
