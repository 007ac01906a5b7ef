"""One thread per worker, set before torch is imported: tests run side by side, none depends on the number of cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
