"""Seeds: one number in the configuration, a separate stream for every use."""

from __future__ import annotations

import hashlib
import random


def derive_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the use that ``names`` describe; the same on every machine and Python version.

    Distinct names give unrelated streams, so adding one random choice never shifts another.
    """
    text = "\x1f".join([str(seed), *(str(name) for name in names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch (all devices). Importing torch is left to the caller's process."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
