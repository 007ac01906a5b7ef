"""Seeds, determinism, device, precision and scratch folders: what every run needs before it computes."""

from __future__ import annotations

import ctypes
import hashlib
import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deepcompress.errors import UserError
from deepcompress.params import Section

if TYPE_CHECKING:
    import torch
    from lightning_fabric import Fabric

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h
SCRATCH_VARIABLE = "DEEPCOMPRESS_SCRATCH"


class Train(Section):
    """The `train` section: where and how exactly numbers are computed."""

    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]


def start(train: Train, seed: int) -> Fabric:
    """A launched Fabric on one device, seeded, with deterministic algorithms on; facts are logged as plain lines.

    Raises:
        UserError: If the device that params.yaml names is not there, or cannot compute in its precision.
    """
    from lightning_fabric import Fabric

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    chosen = device(train)
    if train.precision == "16-mixed" and chosen.type == "cpu":
        raise UserError("params.yaml: train.precision 16-mixed needs a GPU; on a CPU use 32-true or bf16-mixed")
    make_deterministic(seed)
    fabric = Fabric(accelerator=chosen.type, devices=1, precision=train.precision)
    fabric.launch()
    return fabric


def device(train: Train) -> torch.device:
    """The device of the `train` section; `auto` takes CUDA, then Apple's MPS, then the CPU."""
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if train.device == "auto":
        return torch.device(next(name for name, there in available.items() if there))
    if not available[train.device]:
        there = ", ".join(name for name, usable in available.items() if usable)
        raise UserError(f"params.yaml: train.device is {train.device}, but this machine has {there}")
    return torch.device(train.device)


def make_deterministic(seed: int) -> None:
    """Seed torch and allow only algorithms that give the same bits twice."""
    import torch

    keep_memory_()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # Filling fresh memory guards against reading it uninitialised: we never do, and it costs a pass.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.manual_seed(seed)


def keep_memory_() -> None:
    """Let this process keep the memory that it frees, where the C library is glibc.

    By default a large tensor's memory goes back to the system at once, and the next one's pages are filled with
    zeros again, one fault each: a tenth and more of a training on a CPU.

    Source: mallopt(3), M_MMAP_MAX and M_TRIM_THRESHOLD.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def derived_seed(seed: int, *parts: object) -> int:
    """A seed for one purpose (an epoch, a layer), the same in every process and on every machine.

    Returns:
        A whole number in [0, 2**63).
    """
    text = json.dumps([seed, *map(str, parts)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def scratch(stage: str, *parts: object) -> Path:
    """A folder for work that a later run may take up again; it is no output and may be deleted at any time.

    Its name is a hash of `parts` (the inputs) and of the source of every deepcompress module loaded so
    far, so that a changed input or changed code never meets the work of another.
    """
    root = Path(os.environ.get(SCRATCH_VARIABLE, ".scratch"))
    text = json.dumps([stage, [_plain(part) for part in parts], source_digest()], sort_keys=True)
    folder = root / stage / hashlib.sha256(text.encode()).hexdigest()[:20]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def source_digest() -> str:
    """Checksum over the files of all deepcompress modules that this process has loaded."""
    digest = hashlib.sha256()
    for name in sorted(module for module in sys.modules if module.split(".")[0] == "deepcompress"):
        file = getattr(sys.modules[name], "__file__", None)
        if file:
            digest.update(name.encode() + b"\0" + Path(file).read_bytes())
    return digest.hexdigest()


def _plain(part: object) -> Any:
    return part.model_dump(mode="json") if isinstance(part, Section) else str(part)
