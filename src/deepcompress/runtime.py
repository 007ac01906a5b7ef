"""What every run needs before it computes: seeds, determinism, device, precision, processes, cores, scratch folders.

A training on n devices is n processes of one program, started by torchrun, by srun, or by Fabric, which runs the
script again for each further device. All do the same work on the same seeds, each on its own part of every batch
(data/batches.py), so that all hold the same weights. The first alone writes; the others end before outputs are due.
A process that fails ends all: Fabric and torchrun end the rest, and a process whose parent is gone ends itself.
"""

from __future__ import annotations

import ctypes
import hashlib
import inspect
import json
import logging
import os
import shlex
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from deepcompress.errors import PROCESS_VARIABLE, STAGE_VARIABLE, UserError, scratch_root
from deepcompress.errors import SCRATCH_VARIABLE as SCRATCH_VARIABLE
from deepcompress.params import Section

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

    import torch
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import Strategy
    from torch import nn

T = TypeVar("T")
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h
LAUNCH_VARIABLE = "DEEPCOMPRESS_LAUNCH"  # a command such as `srun` that starts a stage once per device
TORCHRUN_VARIABLE = "TORCHELASTIC_RUN_ID"  # set by torchrun
SECONDS_BETWEEN_LOOKS = 1.0
MOST_FORKS = 8
DIE_WITH_PARENT = 1  # prctl(2), PR_SET_PDEATHSIG
COMPILES = "compiles"  # attribute by which a Fabric tells the training loop what train.compile says


class Train(Section):
    """The `train` section: where and how exactly numbers are computed."""

    device: Literal["auto", "cpu", "cuda", "mps"]  # kind of device
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]  # of the network while it trains; weights stay float32
    # Processes on each machine, a device each; auto: as many as there are GPUs, or 1.
    devices: Annotated[int, Field(ge=1)] | Literal["auto"] = 1
    num_nodes: int = Field(default=1, ge=1)  # machines
    # ddp: averaged gradients (DistributedDataParallel); auto: that, or nothing for a single process.
    strategy: Literal["auto", "ddp"] = "auto"
    # Of a stage's process on the CPU; None: as torch chooses, one per core. Sums come in another order for another
    # number, so the last bits of all results depend on it; a fixed one makes machines agree.
    threads: Annotated[int, Field(ge=1)] | None = None
    compile: bool = False  # whether torch.compile makes one program of the network that trains

    def alone(self) -> Train:
        """For work that nothing is trained in: one process."""
        return self.model_copy(update={"devices": 1, "num_nodes": 1, "strategy": "auto"})

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is as it always was: provenance, and so a model's bytes, then stay as they were."""
        optional = {name: field.default for name, field in type(self).model_fields.items() if not field.is_required()}
        return {key: value for key, value in handler(self).items() if optional.get(key, handler) != value}


def start(train: Train, seed: int, *, trains: bool = True) -> Fabric:
    """A launched Fabric, seeded, with deterministic algorithms on; facts are logged as plain lines.

    With several devices this returns in as many processes; only the first of them logs. Where nothing trains there is
    one process, and the result is a `device` and nothing else of a Fabric, which takes longer to load than a small
    model takes to be rounded. A UserError if the devices are not there, or cannot compute in the precision.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if not trains:
        make_deterministic(seed, train.threads)
        return cast("Fabric", SimpleNamespace(device=device(train)))
    from lightning_fabric import Fabric

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # its advice is on settings that are ours to make
    chosen = device(train)
    if train.precision == "16-mixed" and chosen.type == "cpu":
        raise UserError("params.yaml: train.precision 16-mixed needs a GPU; on a CPU use 32-true or bf16-mixed")
    if train.compile and not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++", "cl"))):
        raise UserError("params.yaml: train.compile needs a C++ compiler, and this machine has none: set it to false")
    kind, nodes, devices = chosen.type, train.num_nodes, device_count(train, chosen.type)
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if TORCHRUN_VARIABLE in os.environ and started != devices * nodes:  # provenance would be wrong
        raise UserError(
            f"params.yaml: train.devices x train.num_nodes is {devices} x {nodes}, but torchrun started {started} "
            "processes; they must be equal"
        )
    hand_over(devices * nodes)
    make_deterministic(seed, train.threads)
    strategy = _data_parallel() if train.strategy == "ddp" or devices * nodes > 1 else "auto"
    fabric = Fabric(accelerator=kind, devices=devices, num_nodes=nodes, precision=train.precision, strategy=strategy)
    fabric.launch()
    setattr(fabric, COMPILES, train.compile)
    if not is_first():
        logging.getLogger().setLevel(logging.WARNING)
        follow_()
    return fabric


def device_count(train: Train, kind: str) -> int:
    """Devices on this machine that `train` asks for, at most those there are; a CPU takes as many as one likes."""
    import torch

    there = {"cuda": torch.cuda.device_count(), "mps": 1}.get(kind)
    if train.devices == "auto":
        return there or 1
    if there is not None and train.devices > there:
        raise UserError(f"params.yaml: train.devices is {train.devices}, but this machine has {there} of kind {kind}")
    return train.devices


def _data_parallel() -> Strategy:
    """DDP as our loop needs it: run the script again per device, as torchrun does; a forked CUDA would not work.

    All processes compute the same buffers, so none are sent. Layers without gradient are looked for only where the
    module that trains says by `find_unused_parameters` that there may be some: it costs a walk over the graph in every
    step.
    """
    from lightning_fabric.strategies import DDPStrategy
    from torch.nn.parallel import DistributedDataParallel

    known = inspect.signature(DistributedDataParallel.__init__).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # before torch 2.15

    class DataParallel(DDPStrategy):
        def setup_module(self, module: nn.Module) -> DistributedDataParallel:
            self._ddp_kwargs |= {"find_unused_parameters": bool(getattr(module, "find_unused_parameters", False))}
            return super().setup_module(module)

    options: dict[str, Any] = {buffers: False}
    return DataParallel(**options)


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


def make_deterministic(seed: int, threads: int | None = None) -> None:
    """Seed torch, allow only algorithms that give the same bits twice, and fix the number of threads if it is given."""
    import torch

    keep_memory_()
    if threads is not None:
        from threadpoolctl import threadpool_limits

        torch.set_num_threads(threads)
        threadpool_limits(threads, user_api="blas")  # NumPy's; those that wait for each other cost as much as work
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms imports the compiler: 2 s of every stage
    # Filling fresh memory guards against reading it uninitialised: we never do, and it costs a pass.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.manual_seed(seed)


@contextmanager
def in_float32() -> Iterator[None]:
    """Let torch make floats of 32 bits, as everywhere but where a program says `torch.set_default_dtype`."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def keep_memory_() -> None:
    """Let this process keep the memory that it frees, where the C library is glibc.

    By default a large tensor's memory goes back to the system at once, and the next one's pages are filled with
    zeros again, one fault each: a tenth and more of a training on a CPU. Source: mallopt(3).
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def derived_seed(seed: int, *parts: object) -> int:
    """A seed in [0, 2**63) for one purpose (an epoch, a layer), the same in every process and on every machine."""
    text = json.dumps([seed, *map(str, parts)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


# Several processes: who is first, what the first alone does, and how all end together.


def rank() -> int:
    """Number of this process, from 0; 0 where there is but one."""
    import torch.distributed as dist

    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def process_count() -> int:
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
    if process_count() == 1:
        return make()
    import torch.distributed as dist

    found = [make() if is_first() else None]
    dist.broadcast_object_list(found, src=0)
    made: T = found[0]  # type: ignore[assignment]
    return made


def wait() -> None:
    """Go on once all processes have come here."""
    if process_count() > 1:
        import torch.distributed as dist

        dist.barrier()


def hand_over(processes: int) -> None:
    """Where LAUNCH_VARIABLE names a command, become that command, which starts this program once per process.

    DVC starts a stage on one machine; `srun` or torchrun, named there, takes it to all of them.
    """
    launch = os.environ.pop(LAUNCH_VARIABLE, "")
    if launch and processes > 1 and TORCHRUN_VARIABLE not in os.environ:
        command = [*shlex.split(launch), sys.executable, *sys.argv]
        os.execvp(command[0], command)


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


# All cores, for independent pieces of work that nothing is trained in.

_calls: Sequence[Callable[[], Any]] = ()  # what the forks of this process find


def on_cores(calls: Sequence[Callable[[], T]], threads: int | None = 1) -> Iterator[T]:
    """What each call returns, in their order, each made in a fork of this process, which has all loaded already.

    There is a fork for each core, up to MOST_FORKS, made at once: whoever takes the results may start threads. The
    calls are made one after the other in this process where there is one core, where each takes several threads, or
    where forking may not be safe: elsewhere than on Linux, beside other threads, and in any but the fresh process of a
    stage. A UserError if a fork was killed.

    Args:
        calls: Change nothing that another of them reads; what they return can be pickled.
        threads: Of each; None: all cores. With more than one nothing is forked: a fork has none of the threads that
            worked for this process before, and would wait for them for ever.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    count = min(cores, len(calls), MOST_FORKS) if threads == 1 else 1
    fresh = STAGE_VARIABLE in os.environ and threading.active_count() == 1
    if count < 2 or sys.platform != "linux" or not fresh:
        return (call() for call in calls)
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    global _calls
    _calls = calls
    pool = ProcessPoolExecutor(count, get_context("fork"), _die_with, (os.getpid(),))
    return _closing(pool, pool.map(_call, range(len(calls))))


def _call(place: int) -> Any:
    return _calls[place]()


def _die_with(parent: int) -> None:
    """Else a fork would wait for ever on one that was killed, be it before this line."""
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _closing(pool: ProcessPoolExecutor, found: Iterator[T]) -> Iterator[T]:
    from concurrent.futures.process import BrokenProcessPool

    try:
        with pool:
            yield from found
    except BrokenProcessPool:
        raise UserError(
            "a process was killed, most likely for lack of memory; with `train.threads: null` one works at a time"
        ) from None


# Scratch.


def scratch(stage: str, *parts: object, code: tuple[str, ...] = ()) -> Path:
    """A folder for work of a stage that a later run may take up again; it is no output and may be deleted at any time.

    Its name is a hash of `parts` (the inputs) and of the source of every deepcompress module loaded so far, so that a
    changed input or changed code never meets the work of another. Work that several stages share, which load different
    modules, names the `code` that decides about it: files and folders of the package, such as `deploy/onnx.py`.
    """
    digest = _files_digest(Path(__file__).parent / name for name in code) if code else source_digest()
    plain = [part.model_dump(mode="json") if isinstance(part, Section) else str(part) for part in parts]
    text = json.dumps([stage, plain, digest], sort_keys=True)
    folder = scratch_root() / stage / hashlib.sha256(text.encode()).hexdigest()[:20]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def source_digest() -> str:
    """Checksum over the files of all deepcompress modules that this process has loaded."""
    names = sorted(module for module in [*sys.modules] if module.split(".")[0] == "deepcompress")
    return _files_digest(Path(file) for name in names if (file := getattr(sys.modules[name], "__file__", None)))


def _files_digest(places: Iterable[Path]) -> str:
    """The same over files of the package, and over all of its folders."""
    package, digest = Path(__file__).parent, hashlib.sha256()
    for place in places:
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
