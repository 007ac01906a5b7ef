"""A stage that DVC runs leaves its time in scratch; a failed one, and one outside of DVC, leaves nothing."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from deepcompress import runtime, stopwatch
from deepcompress.errors import UserError, one_line_errors

NO_SECONDS = (b"NaN", b"-1", b"1e999", b'"3"', b"null", b"true")


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(runtime.SCRATCH_VARIABLE, str(tmp_path))
    return tmp_path


def test_both_modules_mean_the_same_scratch(scratch: Path) -> None:
    assert stopwatch.SCRATCH_VARIABLE == runtime.SCRATCH_VARIABLE
    assert stopwatch.folder().parent == runtime.scratch("anything").parents[1]


@pytest.mark.parametrize(
    ("address", "name"),
    [("prune", "prune"), ("prune_sweep@structured-0.5", "prune_sweep@structured-0.5"), ("sub/dvc.yaml:prune", "prune")],
)
def test_a_stage_that_ends_well_notes_its_seconds(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, address: str, name: str
) -> None:
    monkeypatch.setenv("DVC_STAGE", address)
    monkeypatch.setattr(stopwatch, "STARTED", time.perf_counter() - 5)
    assert one_line_errors(lambda: 3)() == 3
    noted = json.loads((scratch / "seconds" / f"{name}.json").read_text())
    assert noted["stage"] == name
    assert 5 <= noted["seconds"] < 6
    assert len(list((scratch / "seconds").iterdir())) == 1


def test_outside_of_dvc_nothing_is_written(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    assert one_line_errors(lambda: 3)() == 3
    assert not list(scratch.iterdir())


def test_a_failed_stage_notes_nothing(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @one_line_errors
    def fails() -> None:
        raise UserError("no")

    monkeypatch.setenv("DVC_STAGE", "prune")
    with pytest.raises(SystemExit):
        fails()
    assert not list(scratch.iterdir())


@pytest.fixture
def noted(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The notes of three stages, by stage."""
    found = {}
    for stage in ("download", "prune", "report"):
        monkeypatch.setenv("DVC_STAGE", stage)
        path = stopwatch.note()
        assert path
        found[stage] = path
    return found


@pytest.mark.parametrize(
    "content",
    [b"", b'{"stage": "prune", "sec', b"\xff\xfe", b"[" * 10**5, b"[]", b"3", b"null", b"{}", b'{"stage": "prune"}']
    + [b'{"stage": "prune", "seconds": %s}' % seconds for seconds in NO_SECONDS]
    + [b'{"stage": 3, "seconds": 3}'],
    ids=range(16),
)
def test_a_damaged_note_counts_as_absent(noted: dict[str, Path], content: bytes) -> None:
    noted["prune"].write_bytes(content)
    assert [entry["stage"] for entry in stopwatch.noted()] == ["download", "report"]
