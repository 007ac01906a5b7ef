"""State files: whole or ignored, and named by what decides a training."""

from __future__ import annotations

import pickle

import pytest
import torch

from deepcompress import runtime
from deepcompress.training import resume
from tests.faults.damage import Trap


def test_a_state_comes_back(tmp_path):
    state = {
        "weights": {"a": torch.arange(6.0).view(2, 3).t()},
        "history": [{"epoch": 1, "loss": 0.5}],
        "none": {},
    }
    resume.save(tmp_path, state)
    found = resume.load(tmp_path)
    assert torch.equal(found["weights"]["a"], state["weights"]["a"])
    assert found["history"] == state["history"]
    assert [path.name for path in tmp_path.iterdir()] == [resume.STATE_FILE]
    assert resume.load(tmp_path / "other") is None


def test_code_in_a_state_file_is_not_run(tmp_path):
    resume.save(tmp_path, {"weights": Trap(tmp_path / "sprung")})
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        resume.load(tmp_path)
    assert not (tmp_path / "sprung").exists()


def test_clearing_leaves_what_others_put_there(tmp_path):
    for other in (True, False):
        place = tmp_path / str(other)
        place.mkdir()
        resume.save(place, {})
        (place / f".{resume.STATE_FILE}.partial-1").touch()  # what a kill in the middle of a write leaves
        if other:
            (place / "other").touch()
        resume.clear(place)
        assert place.exists() == other
    resume.clear(tmp_path / "False")


def test_the_folder_is_named_by_weights_data_and_params(tmp_path, monkeypatch, network):
    monkeypatch.setenv(runtime.SCRATCH_VARIABLE, str(tmp_path / "scratch"))
    data = tmp_path / "fit"
    data.mkdir()
    (data / "images").write_text("1")
    model = network()

    def name() -> str:
        return resume.folder("stage", model, data, 7).name

    names = [name(), name()]
    assert names[0] == names[1]
    with torch.no_grad():
        model.classifier[6].bias[0] += 1
    names.append(name())
    (data / "images").write_text("2")
    names += [name(), resume.folder("stage", model, data, 8).name]
    assert len(set(names)) == 4


def test_the_fingerprint_does_not_depend_on_the_memory_layout(network):
    model = network()
    before = resume.fingerprint(model)
    assert resume.fingerprint(model.to(memory_format=torch.channels_last)) == before
    assert resume.fingerprint(network().bfloat16()) != before
