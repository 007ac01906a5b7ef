"""One thread per worker, set before torch is imported: tests run side by side, none depends on the number of cores."""

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def fabric():
    """Fabric on the CPU."""
    from deepcompress import runtime

    return runtime.start(runtime.Train(device="cpu", precision="32-true"), 0)
