"""The record of a training: a row per epoch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Epoch:
    """One pass over the training images and the measurement after it.

    Attributes:
        epoch: Counted from 1.
        train_loss: Mean over the images, each as the model was when it saw it.
        learning_rate: Of the last step.
        validation_top1_pct: Right answers [%].
        validation_loss: Cross-entropy [nats], whatever the training minimises.
    """

    epoch: int
    train_loss: float
    learning_rate: float
    validation_top1_pct: float
    validation_loss: float


@dataclass
class History:
    """The epochs of one training, in order."""

    epochs: list[Epoch] = field(default_factory=list)

    def best(self) -> Epoch:
        """The epoch with the highest validation top-1; of equal ones the earliest."""
        return max(self.epochs, key=lambda epoch: epoch.validation_top1_pct)

    def rows(self) -> list[dict[str, Any]]:
        """Plain values, one mapping per epoch."""
        return [asdict(epoch) for epoch in self.epochs]

    @classmethod
    def from_rows(cls, rows: list[dict[str, Any]]) -> History:
        """The inverse of `rows`."""
        return cls([Epoch(**row) for row in rows])

    def frame(self) -> pd.DataFrame:
        """The table that a stage writes as CSV."""
        import pandas as pd

        return pd.DataFrame(self.rows(), columns=[column.name for column in fields(Epoch)])
