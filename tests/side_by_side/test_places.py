"""Cores and GPUs are shared out."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepcompress.side_by_side import places


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Six cores and no GPU; the folder is the search path for programs."""
    monkeypatch.setattr(places, "_cores", lambda: 6)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def add_gpus(folder: Path, count: int) -> None:
    program = folder / "nvidia-smi"
    lines = "\n".join(f"echo 'GPU {place}: NVIDIA (UUID: GPU-{place})'" for place in range(count))
    program.write_text(f"#!/bin/sh\n{lines}\n")
    program.chmod(0o755)


def test_cores_are_shared_out(machine: Path) -> None:
    assert places.places(2, {}) == [{"OMP_NUM_THREADS": "3"}] * 2
    assert places.places(4, {}) == [{"OMP_NUM_THREADS": "1"}] * 4
    assert places.places(9, {}) == [{"OMP_NUM_THREADS": "1"}] * 9


def test_a_place_for_each_core_unless_asked(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(places.places(None, {})) == 6
    monkeypatch.setattr(places, "_cores", lambda: 64)
    assert places.places(None, {}) == [{"OMP_NUM_THREADS": "8"}] * places.MOST


def test_the_users_number_of_threads_stays(machine: Path) -> None:
    assert places.places(2, {"OMP_NUM_THREADS": "5"}) == [{"OMP_NUM_THREADS": "5"}] * 2


def test_every_place_has_a_gpu(machine: Path) -> None:
    add_gpus(machine, 2)
    assert [place["CUDA_VISIBLE_DEVICES"] for place in places.places(None, {})] == ["0", "1"]
    assert [place["CUDA_VISIBLE_DEVICES"] for place in places.places(3, {})] == ["0", "1", "0"]


def test_hidden_gpus_stay_hidden(machine: Path) -> None:
    add_gpus(machine, 4)
    shown = places.places(None, {"CUDA_VISIBLE_DEVICES": "2,3"})
    assert [place["CUDA_VISIBLE_DEVICES"] for place in shown] == ["2", "3"]
    assert all("CUDA_VISIBLE_DEVICES" not in place for place in places.places(2, {"CUDA_VISIBLE_DEVICES": ""}))
