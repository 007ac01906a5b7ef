"""What tests of stages that are stopped after their training share: a full disk at the first model file."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from deepcompress.models import checkpoint
from deepcompress.training import loop


def fill_the_disk_once(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first model cannot be written; returns a list that grows by one at every training."""
    trained: list[int] = []
    refused: list[int] = []
    train, save = loop.train, checkpoint.save

    def counted(*arguments: Any, **options: Any) -> Any:
        trained.append(1)
        return train(*arguments, **options)

    def full(*arguments: Any, **options: Any) -> None:
        if not refused:
            refused.append(1)
            raise OSError(errno.ENOSPC, "No space left on device")
        save(*arguments, **options)

    monkeypatch.setattr(loop, "train", counted)
    monkeypatch.setattr(checkpoint, "save", full)
    return trained
