"""A folder of its own for each test of a stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepcompress import runtime


@pytest.fixture
def project(inside: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one, with scratch of its own."""
    monkeypatch.setenv(runtime.SCRATCH_VARIABLE, str(inside / ".scratch"))
    return inside
