"""One nursery for all tests of the command line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from child_processes import Nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()
