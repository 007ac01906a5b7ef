"""A folder of its own for each test of a stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepcompress import runtime


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one, with scratch of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(runtime.SCRATCH_VARIABLE, str(tmp_path / ".scratch"))
    return tmp_path
