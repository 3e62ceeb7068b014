"""The sandbox under each mechanism that this machine has."""

from __future__ import annotations

import pytest

from millbase.errors import ConfigError
from millbase.verify.sandbox import SandboxConfig, find_mechanism


@pytest.fixture(scope="session", params=["namespaces", pytest.param("bubblewrap", marks=pytest.mark.slow), "landlock"])
def sandbox(request: pytest.FixtureRequest) -> SandboxConfig:
    """Small limits and a generous clock: only programs that hang need it, and those tests shorten it."""
    config = SandboxConfig(
        mechanism=request.param,
        wall_seconds=60,
        cpu_seconds=20,
        memory_bytes=256 << 20,
        disk_bytes=1 << 20,
        output_bytes=1 << 16,
    )
    try:
        find_mechanism(config)
    except ConfigError as error:
        pytest.skip(str(error))
    return config
