"""Replicates: what their rows hold, and runs of a small pipeline under further seeds, of which one fails."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from deepcompress import files, replicates
from deepcompress.errors import UserError
from deepcompress.measure.evaluate import packed
from deepcompress.measure.verdict import COLUMNS, Replicates
from deepcompress.replicates import Measured, rows, unpacked
from tests.toy import Pipeline, new_pipeline, stage

TABLE = "metrics/replicates.csv"
TRAIN = """
import os, sys, pathlib
root = pathlib.Path(os.environ["TOLD"])
seed = int(next(line for line in open("params.yaml") if line.startswith("seed")).split()[1])
with open(root / "trained", "a") as told:
    told.write(f"{seed}\\n")
sys.exit(1) if (root / f"fail-{seed}").exists() else open("model", "w").write(str(seed))
"""
EVALUATE = """
import json, pathlib
seed = int(open("model").read())
pathlib.Path("metrics").mkdir(exist_ok=True)
pathlib.Path("results").mkdir(exist_ok=True)
right = {"baseline": 0b11110000, "pruned/a": 0b11110000 >> seed}
points = 12.5 * ((right["pruned/a"] & 0b11111111).bit_count() - 4)
pathlib.Path("metrics/evaluation.csv").write_text(
    f"model,n,top1_pct,difference_points\\nbaseline,8,50.0,\\npruned/a,8,{50 + points},{points}\\n")
pathlib.Path("metrics/pairs.csv").write_text("model,reference,n,difference_points\\n")
json.dump({model: f"{bits:02x}" for model, bits in right.items()}, open("results/outcomes.json", "w"))
"""


def measured(*right: str, reference: str = "c") -> Measured:
    """Models b (the baseline), m and c, each with the images that it got right as 0 and 1."""
    found = {name: np.array([sign == "1" for sign in text]) for name, text in zip(("b", "m", "c"), right, strict=True)}
    names = {"b": "baseline", "m": "m", "c": "c"}
    evaluation = [{"model": names[key], "n": bits.size, "top1_pct": 100 * bits.mean()} for key, bits in found.items()]
    return Measured(evaluation, [{"model": "m", "reference": reference}], {names[k]: v for k, v in found.items()})


def test_rows_are_those_worked_by_hand() -> None:
    table = rows({0: measured("1100", "1110", "0000"), 7: measured("1100", "0010", "0000")})
    assert [tuple(row) for row in table] == [COLUMNS] * 8
    cells = {(row["seed"], row["model"], row["reference"]): row for row in table}
    assert cells[0, "baseline", None]["difference_points"] is None
    own, other = cells[0, "m", "baseline"], cells[7, "m", "baseline"]
    assert [(row["difference_points"], row["gained"], row["lost"]) for row in (own, other)] == [(25, 1, 0), (-25, 1, 2)]
    # Differences by image 0 0 1 0 and -1 -1 1 0: covariance (0 + 1 - 4 * (1/4) * (-1/4)) / 3 over 4 images
    assert own["shared_variance"] == other["shared_variance"] == pytest.approx(100**2 * 1.25 / 3 / 4, rel=1e-3)
    assert cells[7, "m", "c"]["difference_points"] == 25


@pytest.mark.parametrize(
    "other", [measured("11000", "11100", "00000"), measured("1100", "1110", "0000", reference="b")]
)
def test_seeds_of_other_images_or_comparisons_are_refused(other: Measured) -> None:
    with pytest.raises(UserError, match="seed 1 was measured on other models or images"):
        rows({0: measured("1100", "1110", "0000"), 1: other})


def test_outcomes_come_back_from_their_digits() -> None:
    right = torch.tensor([True, False, True, True, False, False, False, True, True])
    assert unpacked(packed(right), 9).tolist() == right.tolist()


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """Finished under seed 0, with changes that nobody committed; what its trainings tell lies beside it."""
    monkeypatch.setenv("TOLD", str(tmp_path))
    monkeypatch.delenv("DEEPCOMPRESS_SCRATCH", raising=False)
    made = new_pipeline(tmp_path / "pipeline")
    for name, text in {
        "train.py": TRAIN,
        "evaluate.py": EVALUATE,
        "params.yaml": "seed: 0\nweights: start.pt\npath: pets\n",
    }.items():
        (made.folder / name).write_text(text)
    (made.folder / ".gitignore").write_text("/model\n/results/\n/.scratch/\n/start.pt\n")
    (made.folder / "start.pt").touch()
    (made.folder / "pets").mkdir()
    (made.folder / "pets/one.png").touch()
    outs = [{f"metrics/{name}.csv": {"cache": False}} for name in ("evaluation", "pairs")]
    stages = {
        "train": stage("python train.py && ls start.pt", ["train.py"], ["model"], params=["seed"]),
        "evaluate": stage("python evaluate.py", ["model", "evaluate.py"], [*outs, "results/outcomes.json"]),
    }
    made.write(stages)
    made.dvc_repro()
    return made


def run(pipeline: Pipeline, *arguments: str, code: int = 0) -> str:
    return pipeline.invoke(replicates.main, "-j", "1", *arguments, code=code)


def trained(pipeline: Pipeline) -> list[str]:
    return (pipeline.folder.parent / "trained").read_text().split()


def state(pipeline: Pipeline) -> dict[str, bytes]:
    """The working tree without the table and what git and DVC keep for themselves."""
    kept = (".git/", ".dvc/", ".scratch/", TABLE)
    found = {path.relative_to(pipeline.folder).as_posix(): path for path in pipeline.folder.rglob("*")}
    return {name: path.read_bytes() for name, path in found.items() if path.is_file() and not name.startswith(kept)}


def test_further_seeds_train_once_and_leave_the_working_tree_alone(pipeline: Pipeline) -> None:
    before = state(pipeline)
    run(pipeline, "--seeds", "3")
    assert trained(pipeline) == ["0", "1", "2"]
    first = (pipeline.folder / TABLE).read_bytes()
    run(pipeline, "--seeds", "3")
    assert trained(pipeline) == ["0", "1", "2"]
    assert (pipeline.folder / TABLE).read_bytes() == first
    shutil.rmtree(pipeline.folder / ".scratch")
    run(pipeline, "--seeds", "3")
    assert trained(pipeline) == ["0", "1", "2"], "from DVC's run cache"
    assert state(pipeline) == before
    evaluation = files.read_rows(pipeline.folder / "metrics/evaluation.csv")
    found = Replicates.read(pipeline.folder / TABLE, evaluation, [])
    assert (found.seeds, found.stale) == ([0, 1, 2], None)
    assert [row["gained"] for row in found.of("pruned/a", "baseline")] == [0.0, 1.0, 2.0]


def test_changed_code_reaches_the_copies_and_a_changed_working_tree_must_run_first(pipeline: Pipeline) -> None:
    run(pipeline, "--seeds", "2")
    (pipeline.folder / "train.py").write_text(f"{TRAIN}# changed\n")
    assert "error: results here are not of this code and these params" in run(pipeline, "--seeds", "2", code=2)
    pipeline.dvc_repro()
    (pipeline.folder / "notes.txt").write_text("new")
    run(pipeline, "--seeds", "2")
    assert trained(pipeline) == ["0", "1", "0", "1"]
    copy = pipeline.folder / ".scratch/replicates/1"
    assert (copy / "notes.txt").is_file()
    assert (copy / "pets").readlink() == pipeline.folder / "pets", "images are not copied"
    (pipeline.folder / "notes.txt").unlink()
    run(pipeline, "--seeds", "2")
    assert not (copy / "notes.txt").exists()


def test_a_seed_that_fails_is_named_and_the_others_are_kept(pipeline: Pipeline) -> None:
    (pipeline.folder.parent / "fail-1").touch()
    told = run(pipeline, "--seeds", "3", code=1)
    assert told.splitlines()[-1] == "error: seed 1 failed, see above; the others are kept"
    assert {int(row["seed"]) for row in files.read_rows(pipeline.folder / TABLE)} == {0, 2}
    (pipeline.folder.parent / "fail-1").unlink()
    run(pipeline, "--seeds", "3")
    assert trained(pipeline) == ["0", "1", "2", "1"]
