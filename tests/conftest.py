"""Fixtures for every test: where the real data lies, and quiet, small, offline libraries."""

from __future__ import annotations

import os
from pathlib import Path

# before torch is imported: two cores are shared by two test workers
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")

import pytest

import millbase  # noqa: F401  (sets the offline switches)

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real test data; skips where it is absent.

    ``LLMILL_TEST_DATA`` names it; the default is ``shared/data`` beside the checkout.
    """
    path = Path(os.environ.get("LLMILL_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"real test data is absent: {path} does not exist (set LLMILL_TEST_DATA)")
    return path


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY
