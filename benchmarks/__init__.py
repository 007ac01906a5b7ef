"""Our way and the plain way, timed in turn: `python -m benchmarks.<name>`.

Threads that wait for each other sleep instead of spinning (set before torch is loaded, for both ways). Where
two spinning threads share a core, each parallel loop waits for the end of a time slice: steps of 12 ms were
seen to take 400 ms, at random, which would drown every comparison.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
