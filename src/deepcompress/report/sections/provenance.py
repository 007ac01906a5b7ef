"""How the numbers were made: data, versions, every parameter, and the headline that reviewers compare."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from deepcompress.report.blocks import Paragraph, Section, Table
from deepcompress.report.tables import Tables
from deepcompress.report.text import MISSING

PACKAGES = (
    "deepcompress",
    "torch",
    "torchvision",
    "lightning-fabric",
    "numpy",
    "pandas",
    "matplotlib",
    "dvc",
)
LEAD = "`dvc repro` makes all of this again, byte for byte on the same machine; nothing here was typed by hand."


def build(data: Tables) -> Section:
    """Three tables; the long ones folded away."""
    params = tuple((key, str(value)) for key, value in _flat(data.params))
    headline = tuple((key, str(value)) for key, value in _flat(data.headline))
    blocks = (
        Paragraph(LEAD.replace("`", "")),
        Table(("Data", ""), tuple(_data(data)), caption="Choices were made on validation images alone."),
        Table(("Software", "Version"), tuple(_versions())),
        Table(("Parameter", "Value"), params, folded=f"All {len(params)} parameters (params.yaml)"),
        Table(("Number", "Value"), headline, folded="Headline numbers (what dvc metrics diff compares)"),
    )
    return Section("How this was made", blocks, order=90)


def _data(data: Tables) -> Iterator[tuple[str, str]]:
    meta, counts = data.meta, data.meta.get("counts", {})
    yield "Source", str(meta.get("source", data.params.get("data", {}).get("source", MISSING)))
    yield "Classes", str(data.per_class["class"].nunique())
    yield "Stored size, px", str(meta.get("image_size", MISSING))
    for part in ("train", "validation"):
        yield f"{part.capitalize()} images", f"{counts[part]:,}" if part in counts else MISSING
    yield "Held-out images", f"{int(data.baseline['n']):,}"
    yield "Checksum", str(meta.get("checksum") or MISSING)
    yield "Models", str(len(data.models))


def _versions() -> Iterator[tuple[str, str]]:
    yield "Python", platform.python_version()
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            yield package, "not installed"


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", MISSING if value is None else value
