"""One thread per worker, set before torch is imported: tests run side by side, none depends on the number of cores."""

import os
import signal
from collections.abc import Iterator

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


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
