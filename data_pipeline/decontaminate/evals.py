"""Evaluation sets from files: the texts of each item that are looked for in documents."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from data_pipeline.decontaminate.config import DecontaminateConfig, EvaluationSet
from data_pipeline.texts import read_records
from millbase.errors import InputError
from millbase.files import glob_files, open_file

_MAX_BAD_SHARE = 0.05


class Item(NamedTuple):
    """One item of an evaluation set."""

    name: str
    """What the set's `id_field` says, else its number in its file, after the file's name where there are several."""
    texts: list[str]
    """The texts that documents are compared with, each by itself; perhaps none."""


def evaluation_files(config: DecontaminateConfig) -> list[str]:
    """Files of all evaluation sets, without repeats. InputError when a path matches nothing."""
    files = [glob_files(item.path, what=f"evaluation set {item.name!r}") for item in config.sets]
    return list(dict.fromkeys(file for group in files for file in group))


def read_items(evaluation: EvaluationSet) -> Iterator[Item]:
    """Every item of a set, in the order of its files by name.

    Raises InputError when a path matches nothing, a file cannot be read, more than 5% of its records are no items, or
    none has any of the fields.
    """
    files = glob_files(evaluation.path, what=f"evaluation set {evaluation.name!r}")
    for file in files:
        total = bad = 0
        reason = ""
        for number, record in enumerate(_records(file)):
            total += 1
            try:
                texts = item_texts(record, evaluation.fields)
            except InputError as error:
                bad, reason = bad + 1, reason or str(error)
                continue
            place = str(number) if len(files) == 1 else f"{PurePosixPath(file).name}:{number}"
            yield Item(_name(record, evaluation.id_field, place), texts)
        if total == 0:
            raise InputError(
                f"evaluation set {evaluation.name!r}: {file!r} holds no record; remove it or fetch it again"
            )
        if bad > _MAX_BAD_SHARE * total:
            raise InputError(
                f"evaluation set {evaluation.name!r}: {bad} of {total} records of {file!r} are no items ({reason}); "
                "check 'path' and 'fields'"
            )


def item_texts(record: object, fields: list[str]) -> list[str]:
    """The texts of a record: one for each of `fields`, or without any, every string in it.

    Raises InputError when the record is no mapping or lacks a field.
    """
    if isinstance(record, str):
        return [record]
    if isinstance(record, ValueError):
        raise InputError(f"not JSON: {record}")
    if not isinstance(record, dict):
        raise InputError(f"expected a JSON object, found {type(record).__name__}")
    if not fields:
        return [text for value in record.values() for text in strings(value)]
    return ["\n".join(strings(_field(record, field))) for field in fields]


def strings(value: object) -> list[str]:
    """All strings inside `value`, in order; keys of mappings are none of them."""
    if isinstance(value, str):
        return [value] if value.strip() else []
    if isinstance(value, dict):
        return [text for part in value.values() for text in strings(part)]
    if isinstance(value, (list, tuple)):
        return [text for part in value for text in strings(part)]
    return []


def _field(record: dict[str, Any], field: str) -> object:
    """The value under a dotted field; of a list, that of each member."""
    values: list[Any] = [record]
    for key in field.split("."):
        found = []
        for value in values:
            for member in value if isinstance(value, list) else [value]:
                if not isinstance(member, dict) or key not in member:
                    keys = ", ".join(map(repr, member)) if isinstance(member, dict) else type(member).__name__
                    raise InputError(f"no field {field!r}: found {keys}")
                found.append(member[key])
        values = found
    return values


def _name(record: object, id_field: str | None, place: str) -> str:
    if id_field is None or not isinstance(record, dict):
        return place
    return "/".join(str(value) for value in _field_or_none(record, id_field)) or place


def _field_or_none(record: dict[str, Any], field: str) -> list[Any]:
    try:
        values = _field(record, field)
    except InputError:
        return []
    return values if isinstance(values, list) else [values]


def _records(file: str) -> Iterator[Any]:
    if not file.removesuffix(".gz").removesuffix(".zst").endswith(".csv"):
        yield from read_records(file)
        return
    try:
        with open_file(file) as lines:
            yield from csv.DictReader(lines)
    except (EOFError, OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file!r} cannot be read ({error}); it is damaged or misnamed, fetch it again") from None
