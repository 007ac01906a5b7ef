"""The test images."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepcompress.data import store
from deepcompress.data.heldout import open_heldout
from deepcompress.errors import UserError
from tests.data import inputs


def test_images_are_the_source_s_test_images_mapped_and_read_only(tmp_path: Path) -> None:
    source = inputs.source(test=6)
    assert source.test
    meta = store.write_fit(tmp_path / "fit", source, validation_fraction=0.25, seed=0)
    store.write_heldout(tmp_path / "heldout", source, meta=meta)
    heldout = open_heldout(tmp_path / "heldout", 5)
    assert heldout.meta == meta
    assert heldout.arrays.budget_mib == 5
    assert (heldout.arrays.images == [source.test.read(i) for i in range(6)]).all()
    assert heldout.arrays.labels.tolist() == [0, 1, 2, 0, 1, 2]
    with pytest.raises(ValueError, match="read-only"):
        heldout.arrays.images[0] = 0


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere/meta\.json: no such file"):
        open_heldout(tmp_path / "nowhere")
