"""Accelerators: a table of published figures (`gpus.yaml`), changed or made up on the command line.

find_gpu("h100")                       # from the table
find_gpu("h100:network=25,node=4")     # with figures of your own
find_gpu("tflops=400,memory=64,bandwidth=2000,link=200,network=25")
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pydantic import Field

from millbase.config import Config, load_config, read_yaml, suggest
from millbase.errors import ConfigError

TABLE = Path(__file__).with_name("gpus.yaml")


class Gpu(Config):
    """One accelerator and how it is connected. Rates in one direction."""

    name: str = "custom"
    """What it is called."""
    tflops: float = Field(gt=0)
    """Peak of bfloat16 matrix multiplication with float32 sums, dense, TFLOP/s; MFU is measured against it."""
    memory: float = Field(gt=0)
    """GiB a program can have."""
    bandwidth: float = Field(gt=0)
    """Device memory, GB/s."""
    link: float = Field(gt=0)
    """To another device of the same node, GB/s."""
    network: float = Field(gt=0)
    """To a device of another node, GB/s."""
    node: int = Field(default=8, gt=0)
    """Devices in a node."""
    matmul: float = Field(default=0.8, gt=0, le=1)
    """Best share of `tflops` that large matrix products reach."""
    price: float | None = Field(default=None, ge=0)
    """Price of an hour of one device, in any currency."""
    names: list[str] = []
    """Parts of the name torch knows it by."""
    source: str = "given by hand"
    """Where the figures come from."""

    @property
    def peak(self) -> float:
        """FLOP/s."""
        return self.tflops * 1e12

    @property
    def memory_bytes(self) -> float:
        """Bytes a program can have."""
        return self.memory * 2**30


@cache
def known_gpus() -> dict[str, Gpu]:
    """Every accelerator of the table, by name."""
    table = read_yaml(TABLE)
    return {name: load_config(Gpu, {"name": name, **values}, where=str(TABLE)) for name, values in table.items()}


def find_gpu(text: str) -> Gpu:
    """The device that `NAME`, `NAME:key=value,...` or `key=value,...` describes. ConfigError when there is none."""
    name, _, changes = text.partition(":")
    if "=" in name:
        name, changes = "", text
    known = known_gpus()
    aliases = {"a100": "a100-80", "v100": "v100-32"}
    name = aliases.get(name.lower(), name.lower())
    if name and name not in known:
        raise ConfigError(
            f"unknown GPU {name!r}{suggest(name, sorted(known))} (all: {', '.join(known)}), or describe one: "
            "--gpu tflops=400,memory=64,bandwidth=2000,link=200,network=25"
        )
    values = known[name].to_dict() if name else {}
    pairs = [pair for pair in changes.split(",") if pair]
    if pairs and name:
        values |= {"name": f"{name} (changed)", "source": f"{values['source']}; {changes} by hand"}
    return load_config(Gpu, values, pairs, where=f"--gpu {text}")


def match_device(device_name: str) -> Gpu | None:
    """The table's entry for a device as `torch.cuda.get_device_name` calls it; None when it is not there."""
    found = [gpu for gpu in known_gpus().values() if any(part.lower() in device_name.lower() for part in gpu.names)]
    # the longest matching part: "GB200" holds "B200"
    return max(found, key=lambda gpu: max(len(p) for p in gpu.names if p.lower() in device_name.lower()), default=None)
