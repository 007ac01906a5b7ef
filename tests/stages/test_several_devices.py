"""A stage on two devices writes what it writes on one, once."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from deepcompress.models import checkpoint
from tests.stages import test_finetune as stage


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_finetune_on_two_devices_ends_with_the_model_of_one(tmp_path: Path) -> None:
    folders = {devices: tmp_path / str(devices) for devices in (1, 2)}
    for devices, folder in folders.items():
        stage.prepare(folder, optimizer="sgd", epochs=3)
        values = yaml.safe_load((folder / "params.yaml").read_text())
        values["train"] |= {"devices": devices}
        (folder / "params.yaml").write_text(yaml.safe_dump(values))
    running = {devices: stage.start(folder) for devices, folder in folders.items()}
    for devices, process in running.items():
        printed = process.communicate(timeout=stage.SECONDS_ALLOWED)[0]
        assert process.returncode == 0, printed
        assert printed.count("epoch 3 of 3") == 1, f"{devices} devices: {printed}"
    one, two = (checkpoint.load(folder / "models/baseline.safetensors") for folder in folders.values())
    assert two.provenance["params"]["train"]["devices"] == 2
    state = two.model.state_dict()
    assert all(
        torch.allclose(tensor, state[name], rtol=0, atol=1e-5) for name, tensor in one.model.state_dict().items()
    )
    histories = [pd.read_csv(folder / "results/baseline.csv") for folder in folders.values()]
    pd.testing.assert_frame_equal(*histories, rtol=0, atol=1e-5)
    assert not list(folders[2].glob(".scratch/finetune/*"))
