"""Typed, validated configuration: a class per component, YAML files, dotted overrides, documented fields.

    class TrainConfig(Config):
        steps: int = Field(default=100, gt=0)
        '''Optimizer steps.'''

    load_config(TrainConfig, "train.yaml", ["steps=200", "optimizer.lr=1e-3"])

pydantic does the validation; this module adds the file, the overrides, and errors of one line that
name the key, the value, and the nearest known key when it is misspelt.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticUndefined

from millbase.errors import ConfigError

C = TypeVar("C", bound="Config")


class Config(BaseModel):
    """Base of every component's configuration. A docstring under each field is its help text."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values of every field, defaults included."""
        return self.model_dump(mode="json")


class FieldDoc(NamedTuple):
    """One configuration field as ``--help`` shows it."""

    name: str
    """Dotted name."""
    type: str
    default: str
    """The default as YAML, or ``required``."""
    doc: str


class _Loader(yaml.SafeLoader):
    """Reads ``1e-4`` as a number (YAML 1.1, and so PyYAML, makes it a string) and refuses a key that stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue  # `<<: *anchor`, which the parent merges
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:[0-9][0-9_]*\.?[0-9_]*(?:[eE][-+]?[0-9]+)|[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?)$"
    ),
    list("-+0123456789."),
)


def read_yaml(path: str | Path) -> Any:
    """Parse one YAML file. ConfigError when it is missing or not YAML, with the line."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"configuration file {str(path)!r} does not exist; check the path") from None
    except (IsADirectoryError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration file {str(path)!r} is not a YAML text file: {error}") from None
    return _parse_yaml(text, str(path))


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{where}: not valid YAML{place}: {problem}") from None


def parse_override(text: str) -> tuple[list[str], Any]:
    """``"a.b=3"`` -> ``(["a", "b"], 3)``; the value is read as YAML."""
    key, separator, value = text.partition("=")
    if not separator or not key.strip(" ."):
        raise ConfigError(f"override {text!r} is not of the form key.sub=value")
    return key.strip().split("."), _parse_yaml(value, f"override {text!r}")


def apply_override(values: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    """Set a nested key in place, making mappings on the way (lists, where the next key is 0).

    List items are addressed by index; the index after the last one adds an item.
    """
    target: Any = values
    for index, key in enumerate(keys):
        last = index == len(keys) - 1
        if isinstance(target, list):
            if not key.isdigit() or int(key) > len(target):
                raise ConfigError(f"override {'.'.join(keys)!r}: {key!r} is not an index of a list of {len(target)}")
            slot: Any = int(key)
            if slot == len(target):
                target.append({})
        elif isinstance(target, dict):
            slot = key
        else:
            raise ConfigError(
                f"override {'.'.join(keys)!r}: {'.'.join(keys[:index])!r} holds {target!r}, not a mapping"
            )
        if last:
            target[slot] = value
        else:
            if isinstance(target, dict) and not isinstance(target.get(slot), (dict, list)):
                target[slot] = [] if keys[index + 1] == "0" else {}
            target = target[slot]


def load_config(
    cls: type[C],
    source: str | Path | Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    where: str | None = None,
) -> C:
    """Read a YAML file (or a mapping), apply ``key.sub=value`` overrides, validate.

    Raises ConfigError with one line that names every wrong key and value.
    """
    where = where or (str(source) if isinstance(source, (str, Path)) else f"{cls.__name__}")
    values = source if isinstance(source, Mapping) else ({} if source is None else read_yaml(source))
    if values is None:
        values = {}
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: expected a mapping of fields, found {type(values).__name__}")
    merged = _copy(values)
    for override in overrides:
        apply_override(merged, *parse_override(override))
    try:
        return cls.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(f"{where}: {explain_validation(cls, error)}") from None


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def explain_validation(cls: type[BaseModel], error: ValidationError) -> str:
    """All problems of a validation in one line, unknown keys with the nearest known one."""
    problems = []
    for item in error.errors(include_url=False):
        location = ".".join(str(part) for part in item["loc"]) or "configuration"
        if item["type"] == "extra_forbidden":
            known = _known_fields(cls, item["loc"][:-1])
            problems.append(f"unknown key {location!r}{suggest(str(item['loc'][-1]), known)}")
        elif item["type"] == "missing":
            problems.append(f"{location!r} is required and was not given")
        else:
            message = item["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
            message = message[0].lower() + message[1:]
            problems.append(f"{_place(location, item)}{message}")
    return "; ".join(problems)


def _place(location: str, item: Mapping[str, Any]) -> str:
    """``field = value: ``. A check of several fields together names them itself: then where they are, at most."""
    if item["type"] in ("value_error", "assertion_error") and isinstance(item["input"], (dict, BaseModel)):
        return "" if location == "configuration" else f"{location}: "
    shown = repr(item["input"])
    return f"{location} = {shown if len(shown) <= 80 else shown[:77] + '...'}: "


def suggest(word: str, known: Sequence[str]) -> str:
    """``"; did you mean 'x'?"`` for a misspelt word, or the list of what there is."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(sorted(known))}" if known else ""


def _known_fields(cls: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """Field names of the (nested) model at ``location``; union tags and indices in the location are skipped."""
    current: list[type[BaseModel]] = [cls]
    for part in location:
        following: list[type[BaseModel]] = []
        for model in current:
            if str(part) in model.model_fields:
                following += _models_in(model.model_fields[str(part)].annotation)
        if following:
            current = following
    return sorted({name for model in current for name in model.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in _models_in(part)]


def describe(cls: type[BaseModel], prefix: str = "") -> list[FieldDoc]:
    """Every field with its dotted name, type, default and docstring; nested configurations are expanded."""
    docs: list[FieldDoc] = []
    for name, field in cls.model_fields.items():
        doc = " ".join((field.description or "").split())
        nested = _models_in(field.annotation)
        default = field.get_default(call_default_factory=True)  # type: ignore[call-arg]
        if len(nested) == 1 and not _is_container(field.annotation):
            # an optional block (None by default) is shown with its own fields all the same
            text = "required" if field.is_required() else ("null" if default is None else "")
            docs.append(FieldDoc(prefix + name, _type_name(field.annotation), text, doc))
            docs += describe(nested[0], f"{prefix}{name}.")
            continue
        text = "required" if default is PydanticUndefined else _yaml_inline(default)
        docs.append(FieldDoc(prefix + name, _type_name(field.annotation), text, doc))
        for model in nested if _is_container(field.annotation) else []:
            docs += describe(model, f"{prefix}{name}.N.")
    return docs


def _is_container(annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    if origin in (types.UnionType, typing.Union):
        return any(_is_container(part) for part in typing.get_args(annotation))
    return origin in (list, tuple, dict, set)


def _type_name(annotation: Any) -> str:
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _type_name(typing.get_args(annotation)[0])
    if origin in (types.UnionType, typing.Union):
        return " | ".join(_type_name(part) for part in typing.get_args(annotation))
    if origin is typing.Literal:
        return " | ".join(repr(value) for value in typing.get_args(annotation))
    if origin is not None:
        return f"{origin.__name__}[{', '.join(_type_name(part) for part in typing.get_args(annotation))}]"
    return "null" if annotation is type(None) else getattr(annotation, "__name__", str(annotation))


def _yaml_inline(value: Any) -> str:
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, (list, tuple)):
        value = [item.model_dump(mode="json") if isinstance(item, BaseModel) else item for item in value]
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).replace("\n...", "").strip()


def dump_yaml(config: Config) -> str:
    """The resolved configuration as YAML."""
    return yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True)
