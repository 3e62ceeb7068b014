"""A Slurm cluster of one node for the tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.slurm_cluster import slurm_cluster


@pytest.fixture(scope="session")
def slurm() -> Iterator[str]:
    """The partition of a running one-node cluster; skips, saying why, where it cannot be started."""
    with slurm_cluster() as partition:
        yield partition
