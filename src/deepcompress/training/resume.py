"""Take up an interrupted training at its last whole epoch: one state file, replaced after every epoch.

A damaged one counts as absent, and training starts over.
"""

from __future__ import annotations

import hashlib
import io
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch

from deepcompress import files, kept, processes, runtime

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

STATE_FILE = "state.pt"


def folder(stage: str, model: nn.Module, data: Path, *parts: object) -> Path:
    """The scratch folder of one training, named by all that decides how it ends.

    Args:
        stage: Name of the DVC stage.
        model: As training will start from it: its weights are part of the name.
        data: Folder of the input; the content of its files is part of the name.
        parts: Params, seed, device.
    """
    contents = [f"{path.name}:{files.sha256(path)}" for path in sorted(data.iterdir()) if path.is_file()]
    return runtime.scratch(stage, fingerprint(model), *contents, torch.__version__, *parts)


def fingerprint(model: nn.Module) -> str:
    """Checksum over names, types, shapes and values of a model's parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def save(place: Path, state: dict[str, Any]) -> None:
    """Write the state of a training, whole or not at all; of several processes the first alone does.

    Args:
        place: A folder of that training alone.
        state: Tensors, numbers, text, and lists and dicts of them.
    """
    if not processes.is_first():
        return
    content = io.BytesIO()  # torch.save to a file tells of a full disk by a RuntimeError
    torch.save(state, content)
    kept.write(place / STATE_FILE, content.getvalue())


def load(place: Path) -> dict[str, Any] | None:
    """The state that `save` wrote, on the CPU; None if there is none, or if it is damaged.

    Of several processes the first reads it, for all.
    """
    return processes.from_first(lambda: _read(place))


def _read(place: Path) -> dict[str, Any] | None:
    content = kept.read(place / STATE_FILE)
    return None if content is None else torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def clear(place: Path) -> None:
    """In the first process: remove the state of a training that has ended, and its folder if it is empty."""
    if not processes.is_first():
        return
    for path in (*place.glob(f".{STATE_FILE}.partial-*"), place / STATE_FILE):
        path.unlink(missing_ok=True)
    with suppress(OSError):
        place.rmdir()
