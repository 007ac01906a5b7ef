"""The section `explain`, of a few images."""

from typing import Any

from deepcompress import params
from tests.house import ROOT

SMALL = {"images": 4, "batch_size": 8, "temperature": 3.0, "strip_images": 2}
EXPLAIN: dict[str, Any] = params.read(ROOT / "params.yaml")["explain"] | SMALL
