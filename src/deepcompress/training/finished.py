"""Keep a training that ended until its stage has written all results: what kills the stage later does not repeat it.

The model must go on as training left it, to the bit: weights, memory layout, device, and which of them are frozen.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch

from deepcompress.training import resume
from deepcompress.training.history import History

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

log = logging.getLogger(__name__)


def once(model: nn.Module, folder: Path, train: Callable[[], History]) -> History:
    """Train a model in place, unless an earlier run did: then it gets what that training ended with.

    Args:
        model: As training starts from it.
        folder: Of this training alone; see `resume.folder`. `resume.clear` removes what is kept there.
        train: Trains the model.

    Returns:
        A row per epoch.
    """
    state: dict[str, Any] | None = resume.load(folder)
    if state is None:
        history = train()
        resume.save(folder, {**_left(model), "history": history.rows()})
        return history
    model.to(device=state["device"], memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.load_state_dict(state["weights"])
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in state["trains"])
    model.eval()
    log.info("taken over: a training of %d epochs that had ended", len(state["history"]))
    return History.from_rows(state["history"])


def _left(model: nn.Module) -> dict[str, Any]:
    parameters = dict(model.named_parameters())
    return {
        "weights": model.state_dict(),
        "trains": [name for name, parameter in parameters.items() if parameter.requires_grad],
        "device": str(next(iter(parameters.values())).device),
    }
