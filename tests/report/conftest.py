"""Made-up tables as fixtures: every family, and the baseline alone."""

import dataclasses

import pytest

from deepcompress.report import tables
from deepcompress.report.tables import Paths, Tables
from tests.report import made_up


@pytest.fixture(scope="session")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    return made_up.write(tmp_path_factory.mktemp("every_family"))


@pytest.fixture(scope="session")
def data(paths: Paths) -> Tables:
    return tables.read(paths)


@pytest.fixture(scope="session")
def single(paths: Paths) -> Tables:
    """Of one training each, without replicates."""
    return tables.read(dataclasses.replace(paths, replicates=None))


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return tables.read(made_up.write(tmp_path_factory.mktemp("alone"), made_up.BASELINE))
