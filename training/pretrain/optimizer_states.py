"""Reads the optimizer's state of a checkpoint into an optimizer of another form: ZeRO stage, experts split or not.

Tensors are found by name, and so are in their places whatever the form. What differs is whether there is a float32 copy
of the weights and what it is called, and where the parameter groups, with the count of steps, are kept.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing.mapping import LocalNonpersistentObject, ShardedTensor, ShardedTensorFactory

from training.pretrain.checkpoint import saved_names

STATE = "optimizer.state."
COPIES = (f"{STATE}param.", f"{STATE}fp32_param.", "")
"""What precedes a weight's name where its float32 value is kept: ZeRO-1 and up; ZeRO-0 in bfloat16; ZeRO-0 in float32,
where the weight itself is that."""
_NOTHING = object()


def load(wanted: dict[str, Any], directory: Path) -> dict[str, Any]:
    """`dist_checkpointing.load`, with `wanted["optimizer"]` given what a checkpoint of another form has for it."""
    plain = [_plain(part) for part in _parts(wanted["optimizer"])]
    rest, copies = _split(wanted["optimizer"], saved_names(directory))
    state: dict[str, Any] = dist_checkpointing.load(wanted | {"optimizer": rest}, str(directory))
    if copies is not _NOTHING:
        # By themselves, for weights are asked for twice when they stand for their own copies.
        found = dist_checkpointing.load({"copies": copies}, str(directory))
        _merge(state["optimizer"], found["copies"])
    _regroup(state["optimizer"], plain)
    return state


def steps_done(saved: dict[Any, Any]) -> int:
    """Updates done, from the optimizer's part of a checkpoint of any form."""
    groups = [group for part in _parts(saved) for group in _inner(part).get("param_groups", [])]
    return int(next((group["step"] for group in groups if "step" in group), 0))


def _split(value: Any, names: set[str]) -> tuple[Any, Any]:
    """A wanted state without the copies of weights that the checkpoint calls otherwise, and these under that name."""
    if isinstance(value, ShardedTensor | ShardedTensorFactory):
        own = next((prefix for prefix in COPIES[:2] if value.key.startswith(prefix)), None)
        if own is None or value.key in names:
            return value, _NOTHING
        name = value.key.removeprefix(own)
        return _NOTHING, replace(value, key=next((one + name for one in COPIES if one + name in names), value.key))
    if isinstance(value, dict):
        parts = {key: _split(inner, names) for key, inner in value.items()}
        kept = {key: part[0] for key, part in parts.items() if part[0] is not _NOTHING}
        taken = {key: part[1] for key, part in parts.items() if part[1] is not _NOTHING}
        return kept if kept or not value else _NOTHING, taken or _NOTHING
    if isinstance(value, list):
        pairs = [_split(inner, names) for inner in value]
        if all(pair[1] is _NOTHING for pair in pairs):
            return value, _NOTHING
        assert all(pair[0] is _NOTHING for pair in pairs), "all copies of weights are called alike"
        return _NOTHING, [pair[1] for pair in pairs]
    return value, _NOTHING


def _merge(state: dict[Any, Any], more: dict[Any, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(state.get(key), dict):
            _merge(state[key], value)
        else:
            state[key] = value


def _parts(state: dict[Any, Any]) -> list[dict[str, Any]]:
    """The states of the optimizers in a chain; a chain of one is saved without a number."""
    numbers = sorted(key for key in state if isinstance(key, int))
    return [state[number] for number in numbers] or [state]


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """What an optimizer's state holds beside tensors: its parameter groups and names of formats."""
    values = {key: value for key, value in state.items() if value is None or isinstance(value, str | int | float)}
    groups = [{key: _unwrapped(value) for key, value in group.items()} for group in _inner(state)["param_groups"]]
    return values | {"groups": groups, "wrapped": "optimizer" in state}


def _unwrapped(value: Any) -> Any:
    return value.unwrap() if isinstance(value, LocalNonpersistentObject) else value


def _inner(state: dict[str, Any]) -> dict[str, Any]:
    """The state of the optimizer inside; without main weights and sharding it is not wrapped."""
    inner: dict[str, Any] = state.get("optimizer", state)
    return inner


def _regroup(state: dict[Any, Any], plain: list[dict[str, Any]]) -> None:
    """Make a loaded optimizer state fit this layout's chain of optimizers, of which `plain` has `_plain` of each.

    Experts that are split over ranks have an optimizer of their own, others have not. Tensors were loaded by name and
    are in their places; the groups, with the count of steps, are where the saved layout had them. Of them, only the
    count is taken: rates are set at each step, and the rest is this run's configuration.
    """
    numbers = [key for key in state if isinstance(key, int)]
    steps = max(steps_done(place) for place in (state, *(state[number] for number in numbers)))
    targets = [state] if len(plain) == 1 else [state.setdefault(number, {}) for number in range(len(plain))]
    for target, own in zip(targets, plain, strict=True):
        if own["wrapped"]:
            target.pop("param_groups", None)
            inner = target.setdefault("optimizer", {})
        else:
            target.pop("optimizer", None)
            inner = target
        inner["param_groups"] = [group | {"step": steps} for group in own["groups"]]
        for key in own.keys() - {"groups", "wrapped"}:
            target.setdefault(key, own[key])
    for name in numbers if len(plain) == 1 else [key for key in state if not isinstance(key, int)]:
        del state[name]
