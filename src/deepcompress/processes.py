"""One run on several processes: who is first, what the first alone does, and how all end together.

A training on n devices is n processes of one program, started by torchrun, by srun, or by Fabric, which runs the
script again for each further device. All do the same work on the same seeds, each on its own part of every batch
(data/batches.py), so that all hold the same weights. The first alone writes; the others end before outputs are due.

A process that fails ends all: Fabric and torchrun end the rest, and a process whose parent is gone ends itself.
"""

from __future__ import annotations

import os
import shlex
import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from deepcompress.errors import PROCESS_VARIABLE, UserError

T = TypeVar("T")
LAUNCH_VARIABLE = "DEEPCOMPRESS_LAUNCH"  # a command such as `srun` that starts a stage once per device
SECONDS_BETWEEN_LOOKS = 1.0


def rank() -> int:
    """Number of this process, from 0; 0 where there is but one."""
    import torch.distributed as dist

    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def count() -> int:
    """How many processes share the work."""
    import torch.distributed as dist

    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this process is the one that writes and reports."""
    return rank() == 0


def first_only() -> None:
    """Go on in the first process alone; the others end here, and well."""
    if not is_first():
        sys.exit(0)


def from_first(make: Callable[[], T]) -> T:
    """What a function gives in the first process, handed to all: none of them acts on a file that others lack."""
    if count() == 1:
        return make()
    import torch.distributed as dist

    found = [make() if is_first() else None]
    dist.broadcast_object_list(found, src=0)
    made: T = found[0]  # type: ignore[assignment]
    return made


def wait() -> None:
    """Go on once all processes have come here."""
    if count() > 1:
        import torch.distributed as dist

        dist.barrier()


def hand_over(processes: int) -> None:
    """Where LAUNCH_VARIABLE names a command, become that command, which starts this program once per process.

    DVC starts a stage on one machine; `srun` or torchrun, named there, takes it to all of them.
    """
    launch = os.environ.pop(LAUNCH_VARIABLE, "")
    if launch and processes > 1 and not started_by_torchrun():
        command = [*shlex.split(launch), sys.executable, *sys.argv]
        os.execvp(command[0], command)


def started_by_torchrun() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def require_agreement(devices: int, nodes: int) -> None:
    """Refuse to run on other processes than params.yaml says: provenance would be wrong.

    Raises:
        UserError: If torchrun started more or fewer.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started_by_torchrun() and started != devices * nodes:
        raise UserError(
            f"params.yaml: train.devices x train.num_nodes is {devices} x {nodes}, but torchrun started {started} "
            "processes; they must be equal"
        )


def follow_() -> None:
    """In every process but the first: say who speaks in messages, and end when the process that started it is gone.

    Without this a process may wait for hours in a collective operation for a first one that was killed.
    """
    os.environ[PROCESS_VARIABLE] = str(rank())
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True, name="follow").start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os._exit(1)
