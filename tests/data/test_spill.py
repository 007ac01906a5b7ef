"""Arrays in nameless files: what was written comes back, nothing stays, and a full disk is named."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from deepcompress.data.file_tensor import spill_tensor
from deepcompress.data.spill import spill
from tests.data import inputs

ARRAY = inputs.pixels(0, 12, 4, 3, 3)


@pytest.mark.parametrize("kind", ["|u1", "<f4"])
def test_spilled_rows_come_back_and_no_file_stays(tmp_path: Path, kind: str) -> None:
    array = ARRAY.astype(kind)
    pieces = (array[start : start + 5] for start in range(0, 12, 5))
    found = spill(pieces, array.shape, name="features", folder=tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())
    assert found.dtype == array.dtype
    assert np.array_equal(found[[11, 0, 3]], array[[11, 0, 3]])
    assert not found.fits


def test_pieces_that_do_not_fill_the_array_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"features: \(11, 4, 3, 3\) was written, not"):
        spill([ARRAY[:11]], ARRAY.shape, name="features", folder=tmp_path)


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as raised:
            spill([ARRAY], ARRAY.shape, name=tmp_path / "features", folder=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert raised.value.filename == str(tmp_path / "features")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_a_tensor_in_a_file_gives_the_same_bits(tmp_path: Path, kind: torch.dtype) -> None:
    expected = torch.randn(7, 3, 2).to(kind)
    found = spill_tensor(expected.split(3), (7, 3, 2), kind, tmp_path / "features")
    rows = torch.tensor([6, 0, 0, 3])
    assert (found.shape, found.nbytes, found.device) == (expected.shape, expected.nbytes, expected.device)
    assert torch.equal(found.index_select(0, rows), expected[rows])
    with pytest.raises(ValueError, match="only rows can be selected, got dimension 1"):
        found.index_select(1, rows)
