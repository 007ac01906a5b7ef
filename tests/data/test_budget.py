"""The budget of stored images: read where they are opened, and part of no stage's result."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from deepcompress.data import store
from deepcompress.data.budget import DEFAULT_MIB, device_budget_bytes
from deepcompress.errors import UserError
from tests.data import inputs
from tests.house import ROOT


@pytest.mark.parametrize(
    ("document", "mib"),
    [
        ({"data": {"device_budget_mib": 3}}, 3),
        ({"data": {"source": "shapes"}}, DEFAULT_MIB),
        ({"seed": 0}, DEFAULT_MIB),
    ],
)
def test_it_is_what_params_yaml_says_or_its_default(tmp_path: Path, document: dict, mib: int) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(document))
    assert device_budget_bytes(path) == mib * 2**20
    assert device_budget_bytes(tmp_path / "none.yaml") == DEFAULT_MIB * 2**20


@pytest.mark.parametrize("value", [-1, 1.5, "64", True, None])
def test_anything_else_is_refused(tmp_path: Path, value: object) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({"data": {"device_budget_mib": value}}))
    with pytest.raises(UserError, match=r"data\.device_budget_mib must be a whole number of at least 0, got"):
        device_budget_bytes(path)


def test_an_opened_folder_keeps_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meta = store.write_fit(tmp_path / "fit", inputs.source(), validation_fraction=0.25, seed=0)
    monkeypatch.chdir(tmp_path)
    for mib in (0, 1):
        Path("params.yaml").write_text(yaml.safe_dump({"data": {"device_budget_mib": mib}}))
        fit = store.open_fit(tmp_path / "fit")
        assert [part.images.fits for part in (fit.train, fit.validation)] == [mib == 1] * 2  # type: ignore[union-attr]
    assert fit.meta == meta


def test_no_stage_names_it_so_that_a_change_makes_nothing_stale() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    keys = {str(key) for body in stages.values() for key in body.get("do", body).get("params", [])}
    assert "data.source" in keys
    assert not {"data", "data.device_budget_mib"} & keys
