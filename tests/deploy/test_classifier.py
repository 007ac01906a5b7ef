"""The contract survives the way through metadata; other metadata and damaged files are refused in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deepcompress.deploy.classifier import Contract, OnnxClassifier
from deepcompress.errors import UserError
from tests.deploy.conftest import Exported

CONTRACT = Contract(("ant", "bee, or 'wasp'", "käfer"), 32, 40)


def test_metadata_holds_the_contract() -> None:
    metadata = CONTRACT.to_metadata()
    assert Contract.from_metadata("a.onnx", metadata) == CONTRACT
    assert metadata["contract.images"].startswith("uint8 (n, 3, 32, 32): RGB")
    assert list(metadata) == sorted(metadata)
    assert "white" not in metadata
    twelve_bits = replace(CONTRACT, white=4095)
    assert Contract.from_metadata("a.onnx", twelve_bits.to_metadata()) == twelve_bits


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", "other", "not a deepcompress export"),
        ("classes", "ant, bee", "damaged metadata"),
        ("classes", "3", "damaged metadata"),
        ("image_size", "large", "damaged metadata"),
        ("white", "0", "damaged metadata"),
        ("stored_size", None, "damaged metadata"),
    ],
)
def test_other_metadata_is_refused(key: str, value: str | None, message: str) -> None:
    metadata = CONTRACT.to_metadata() | ({key: value} if value else {})
    if value is None:
        del metadata[key]
    with pytest.raises(UserError, match=rf"a\.onnx: {message}"):
        Contract.from_metadata("a.onnx", metadata)


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^{tmp_path}: is a folder, and must be a file$"):
        OnnxClassifier(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_damaged_file_is_refused(damage: str, exported: Exported, tmp_path: Path) -> None:
    content, path = exported.float_file.read_bytes(), tmp_path / "damaged.onnx"
    path.write_bytes({"cut": content[: len(content) // 2], "text": b"hello " * 99, "empty": b""}[damage])
    with pytest.raises(UserError, match=r"damaged\.onnx: no "):
        OnnxClassifier(path)
    with pytest.raises(UserError, match=r"none\.onnx: no such file"):
        OnnxClassifier(tmp_path / "none.onnx")
