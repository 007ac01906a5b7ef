"""What holds for all tests: one thread each, set before torch is imported, and the same examples at every run.

They run side by side, and none depends on the number of cores or on how fast they are.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from deepcompress.errors import SCRATCH_VARIABLE

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["no_proxy"] = "127.0.0.1"  # servers that tests start are asked without a detour
settings.register_profile(
    "everywhere", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("everywhere")


@pytest.fixture(scope="session", autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that an earlier run of the tests left is found again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SCRATCH_VARIABLE, str(tmp_path_factory.mktemp("scratch")))
        yield


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def project(inside: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same with scratch of its own, for stages."""
    monkeypatch.setenv(SCRATCH_VARIABLE, str(inside / ".scratch"))
    return inside


@pytest.fixture
def pipeline(tmp_path: Path):
    """The small pipeline of tests/toy.py, not run yet."""
    from tests import toy

    return toy.new_pipeline(tmp_path / "pipeline")


@pytest.fixture
def fabric():
    """Fabric on the CPU."""
    from deepcompress import runtime

    return runtime.start(runtime.Train(device="cpu", precision="32-true"), 0)


@pytest.fixture
def ctrl_c_is_heard() -> Iterator[None]:
    """Also where the tests run in the background of a shell, which has what it starts ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
