"""What tests of interrupted trainings share: a stop at a step, a full disk at the first model."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from deepcompress.models import checkpoint
from deepcompress.training import loop


class StoppedError(Exception):
    """Stands for a kill."""


class Count:
    """Counts its calls, and raises at one of them."""

    def __init__(self, last: int | None = None) -> None:
        self.calls, self.last = 0, last

    def __call__(self) -> None:
        self.calls += 1
        if self.calls == self.last:
            raise StoppedError


def fill_the_disk_once(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first model cannot be written; returns a list that grows by one at every first epoch."""
    trained: list[int] = []
    refused: list[int] = []
    epoch_, save = loop._Run.epoch_, checkpoint.save

    def counted(run: Any, number: int, *arguments: Any) -> None:
        trained.extend([1] * (number == 0))
        epoch_(run, number, *arguments)

    def full(*arguments: Any, **options: Any) -> None:
        if not refused:
            refused.append(1)
            raise OSError(errno.ENOSPC, "No space left on device")
        save(*arguments, **options)

    monkeypatch.setattr(loop._Run, "epoch_", counted)
    monkeypatch.setattr(checkpoint, "save", full)
    return trained
