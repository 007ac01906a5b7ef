"""Seeds, devices and scratch folders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from deepcompress import runtime
from deepcompress.errors import UserError


def test_derived_seeds_are_stable_and_differ_by_purpose() -> None:
    assert runtime.derived_seed(0, "epoch", 1) == 4546196660651861553
    purposes = {runtime.derived_seed(seed, *parts) for seed in (0, 1) for parts in ((), ("a",), ("b",), ("a", 1))}
    assert len(purposes) == 8
    assert all(0 <= purpose < 2**63 for purpose in purposes)


def test_a_run_starts_seeded_and_deterministic() -> None:
    train = runtime.Train(device="cpu", precision="32-true")
    runtime.start(train, 3)
    first = torch.rand(3)
    runtime.start(train, 3)
    assert torch.equal(first, torch.rand(3))
    assert torch.are_deterministic_algorithms_enabled()


def test_what_trains_nothing_starts_as_deterministic_and_loads_neither_fabric_nor_compiler() -> None:
    code = (
        "from deepcompress import runtime; import sys, torch;"
        "runtime.start(runtime.Train(device='cpu', precision='32-true'), 3, trains=False);"
        "print(torch.are_deterministic_algorithms_enabled(), torch.rand(3).tolist() == {}, *sys.modules)"
    )
    expected = torch.rand(3, generator=torch.Generator().manual_seed(3)).tolist()
    shown = subprocess.run([sys.executable, "-c", code.format(expected)], capture_output=True, text=True, check=True)
    deterministic, seeded, *loaded = shown.stdout.split()
    assert (deterministic, seeded) == ("True", "True")
    assert not {"lightning_fabric", "torch._dynamo"}.intersection(loaded)


def test_a_stage_s_log_has_no_advice_of_a_library_on_our_settings(caplog: pytest.LogCaptureFixture) -> None:
    runtime.start(runtime.Train(device="cpu", precision="bf16-mixed"), 0)
    assert "lightning" not in {record.name.partition("_")[0] for record in caplog.records}


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_the_number_of_threads_is_as_params_say_whatever_the_machine_has() -> None:
    code = (
        "from deepcompress import runtime; import torch;"
        "train = runtime.Train(device='cpu', precision='32-true', threads={});"
        "runtime.start(train, 0); print(torch.get_num_threads())"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    for given, wanted in (("3", "3"), ("None", "2")):
        command = [sys.executable, "-c", code.format(given)]
        shown = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        assert shown.stdout.split()[-1] == wanted


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match=r"train\.device is cuda, but this machine has .*cpu"):
        runtime.device(runtime.Train(device="cuda", precision="32-true"))


def test_scratch_folders_are_keyed_by_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(runtime.SCRATCH_VARIABLE, str(tmp_path))
    train = runtime.Train(device="cpu", precision="32-true")
    assert runtime.scratch("s", train, 1) == runtime.scratch("s", train, 1)
    assert runtime.scratch("s", train, 1) != runtime.scratch("s", train, 2)
    assert runtime.scratch("s", train, 1) != runtime.scratch("t", train, 1)
    assert runtime.scratch("s").is_relative_to(tmp_path)


def test_scratch_folders_are_keyed_by_loaded_code() -> None:
    program = "from deepcompress import runtime; {}; print(runtime.source_digest())"
    digests = [
        subprocess.run([sys.executable, "-c", program.format(extra)], capture_output=True, text=True, check=True).stdout
        for extra in ("pass", "pass", "import deepcompress.files")
    ]
    assert digests[0] == digests[1] != digests[2]


def test_scratch_folders_of_shared_work_are_keyed_by_the_code_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(runtime.SCRATCH_VARIABLE, str(tmp_path))
    monkeypatch.setattr(runtime, "__file__", str(tmp_path / "runtime.py"))
    (tmp_path / "models").mkdir()
    for name in ("models/vgg.py", "files.py", "other.py"):
        (tmp_path / name).write_text("before")

    def folder() -> Path:
        return runtime.scratch("s", 1, code=("models", "files.py"))

    before = folder()
    (tmp_path / "other.py").write_text("after")
    monkeypatch.setattr(runtime, "source_digest", lambda: "of other modules")
    assert folder() == before
    (tmp_path / "models/vgg.py").write_text("after")
    assert folder() != before


def test_a_precision_that_the_device_lacks_is_refused() -> None:
    with pytest.raises(UserError, match="16-mixed needs a GPU; on a CPU use 32-true or bf16-mixed"):
        runtime.start(runtime.Train(device="cpu", precision="16-mixed"), 0)


@pytest.mark.skipif(sys.platform != "linux", reason="page faults are counted as Linux counts them")
def test_memory_that_is_kept_costs_few_faults_again() -> None:
    code = (
        "import resource, sys, torch; from deepcompress import runtime\n"
        "if sys.argv[1] == 'keep': runtime.keep_memory_()\n"
        "def fill(): torch.empty(16 << 20).fill_(1)\n"
        "for _ in range(8): fill()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(24): fill()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)"
    )
    faults = {
        way: int(subprocess.run([sys.executable, "-c", code, way], capture_output=True, text=True, check=True).stdout)
        for way in ("keep", "give back")
    }
    assert faults["keep"] < 0.5 * faults["give back"]  # where the heap can grow decides how soon it is settled
