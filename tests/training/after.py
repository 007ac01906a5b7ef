"""What tests of stages that are stopped after their training share: a full disk at the first model file."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from deepcompress.models import checkpoint
from deepcompress.training import loop


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
