"""What holds for all tests: one thread each, set before torch is imported, and the same examples at every run.

They run side by side, and none depends on the number of cores or on how fast they are.
"""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["no_proxy"] = "127.0.0.1"  # servers that tests start are asked without a detour
settings.register_profile(
    "everywhere", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("everywhere")


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
