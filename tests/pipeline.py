"""A copy of the project in an empty folder, small enough to run whole, as a new user would run it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deepcompress import preset
from deepcompress.measure import verdict
from tests.house import ROOT, tracked

DEADLINE_S = 1200.0  # of a command
TINY: dict[str, Any] = {
    "data": {"shapes": {"train_per_class": 8, "test_per_class": 4}},
    "model": {"width": 0.0625, "hidden": 256},
    "finetune": {"epochs": 2, "batch_size": 32},
    "sensitivity": {"sparsities": [0, 0.5]},
    "deploy": {"float_agreement_pct": 90.0, "integer_agreement_pct": 20.0, "calibration_samples": 64},
    "quant": {"qat": {"epochs": 1, "batch_size": 32}, "sweep": ["ptq-int4", "qat-int4", "qat-fp32"]},
    "teachers": {
        name: {"width": 0.0625, "hidden": 256, "recipe": {"epochs": 1, "batch_size": 32}}
        for name in ("vgg16", "vgg16_jitter")
    },
    "distill": {
        "student": {"width": 0.0625, "hidden": 256, "recipe": {"epochs": 1, "batch_size": 32}},
        "methods": {"crd": {"negatives": 8, "width": 16}},
        "teachers": ["vgg16"],
        "selected": {"methods": ["hint"], "teachers": ["vgg16_jitter"]},
    },
    "benchmark": {"models": ["baseline", "shipped/quantized"], "warm_up": 0, "rounds": 2},
    "explain": {"images": 8, "strip_images": 2},
    "prune": {"finetune": {"epochs": 1, "batch_size": 32}, "sweep": {"sparsities": [0.25]}},
}
LEFT_OUT = (  # one model of each kind is left
    "teachers.vgg19",
    "distill.methods.smoothed_logits",
    "distill.methods.dkd",
    "distill.methods.logit_std",
    "distill.controls.label_smoothing",
    "combine.quantize.prune_quantize",
    "combine.quantize.distill_quantize",
    "combine.prune.narrow_sparse",
    "combine.distill.sparse95_distill",
    *(f"combine.quantize.{name}" for name in ("narrow_int4", "narrow_sparse_int4", "sparse75_int4")),
    *(f"combine.quantize.sparse95_{name}" for name in ("int5", "distill_int4", "distill_int5")),
)


@dataclass(frozen=True)
class Project:
    """A copy of the working tree, run with no git identity, no DVC remote and scratch of its own."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of the machine's own settings reaches the copy; `python` is the one that runs the tests."""
        home = self.folder.parent / "home"
        home.mkdir(exist_ok=True)
        own = ("GIT_", "DVC_", "DEEPCOMPRESS_")
        bare = {key: value for key, value in os.environ.items() if not key.startswith(own)}
        path = f"{Path(sys.executable).parent}{os.pathsep}{bare['PATH']}"
        return {**bare, "HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1", "PATH": path, "OMP_NUM_THREADS": "1"}

    def dvc(self, *arguments: str, code: int = 0) -> str:
        """Run dvc; returns what it printed, and fails unless it ends with `code`."""
        return self._run("dvc", *arguments, code=code)

    def repro(self, *targets: str) -> str:
        """Run stages as `make repro` does, two at a time, with the libraries loaded once."""
        return self._run("deepcompress.repro", "-j", "2", *targets, PYTHONPATH="src")

    def _run(self, module: str, *arguments: str, code: int = 0, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE_S,
        )
        assert done.returncode == code, done.stdout[-4000:]
        return done.stdout

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start dvc and go on; for tests that kill it."""
        return subprocess.Popen(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def set(self, overlay: dict[str, Any], *, remove: Iterable[str] = ()) -> None:
        """Change params.yaml as a preset would; `remove` are dotted keys."""
        path = self.folder / "params.yaml"
        path.write_text(preset.apply(path.read_text(), overlay, remove))

    def lock(self) -> dict[str, Any]:
        """dvc.lock as values."""
        return dict(yaml.safe_load((self.folder / "dvc.lock").read_text())["stages"])


def copy(folder: Path) -> Project:
    """Copy what git tracks or would track, without results, into `folder` and make it a repository."""
    for name in tracked():
        if name.split("/")[0] not in {"metrics", "plots", "results", "dvc.lock"}:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
    (folder / "metrics").mkdir()
    (folder / "metrics/replicates.csv").write_text(f"{','.join(verdict.COLUMNS)}\n")
    project = Project(folder)
    subprocess.run(["git", "init", "-q"], cwd=folder, env=project.environment, check=True)
    project.set(TINY, remove=LEFT_OUT)
    return project
