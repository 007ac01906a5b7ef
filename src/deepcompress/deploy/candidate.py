"""A model that may be handed over, and its worth in numbers."""

from __future__ import annotations

from dataclasses import dataclass

BASELINE = "baseline"
MILLION = 1e6
BYTES_PER_MIB = 2**20


@dataclass(frozen=True)
class Candidate:
    """A model and its worth.

    Attributes:
        model: Its id.
        right: Right answers on n validation images.
        n: Validation images.
        size_bytes: Of the file.
        macs: Multiply-accumulates for one image.
        latency_ms: Median time for one image, where it was measured.
        drop_interval: 95 % interval of `drop_points`, paired by image; None for the baseline.
    """

    model: str
    right: int
    n: int
    size_bytes: int
    macs: int
    latency_ms: float | None = None
    drop_interval: tuple[float, float] | None = None

    @property
    def top1_pct(self) -> float:
        """Right answers on validation images [%]."""
        return 100 * self.right / self.n

    @property
    def size_mib(self) -> float:
        """Size of the file [MiB]."""
        return self.size_bytes / BYTES_PER_MIB

    @property
    def macs_million(self) -> float:
        """Multiply-accumulates for one image [millions]."""
        return self.macs / MILLION

    def drop_points(self, baseline: Candidate) -> float:
        """What it loses to the baseline on the same images [percent points]; negative when it wins."""
        return 100 * (baseline.right - self.right) / self.n
