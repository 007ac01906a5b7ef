"""The part of each batch that one of several processes computes, and how the parts become the whole again.

A network runs on a process's own images; what it gives is gathered, so that every process knows the answers to the
whole batch, and every loss, be it of pairs of images or with a memory of all, is written as for one process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from deepcompress import processes

if TYPE_CHECKING:
    from jaxtyping import Shaped
    from torch import Tensor


@dataclass(frozen=True)
class Share:
    """One process's part of every batch.

    Attributes:
        rank: Number of the process, from 0.
        processes: How many there are; 2 or more.
    """

    rank: int
    processes: int

    @classmethod
    def own(cls) -> Share | None:
        """Of this process; None where there is but one."""
        return cls(processes.rank(), processes.count()) if processes.count() > 1 else None

    def sizes(self, rows: int) -> list[int]:
        """Rows of each process: as even as can be, the first ones have one more; 0 where rows are too few."""
        return [rows // self.processes + (number < rows % self.processes) for number in range(self.processes)]

    def part(self, rows: slice) -> slice:
        """Of some consecutive rows, those of this process."""
        sizes = self.sizes(rows.stop - rows.start)
        start = rows.start + sum(sizes[: self.rank])
        return slice(start, start + sizes[self.rank])

    def whole(self, own: Shaped[Tensor, "part ..."], rows: int) -> Shaped[Tensor, "rows ..."]:
        """What all processes computed of their rows, in the order of the batch.

        Its gradient is that of this process's rows times the number of processes: a loss of the whole batch is
        computed by all of them alike, and the mean of their gradients, as DDP takes it, is then the gradient of
        that loss, however uneven the parts.

        Args:
            own: A row for each row of this process.
            rows: Of the whole batch.
        """
        gathered: Tensor = _Gather.apply(own, self, rows)
        return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, share: Any, rows: Any) -> Tensor:
        ctx.share, ctx.rows = share, rows
        sizes = share.sizes(rows)
        padded = own.new_zeros(max(sizes), *own.shape[1:])
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        return gradient[ctx.share.part(slice(0, ctx.rows))] * ctx.share.processes, None, None
