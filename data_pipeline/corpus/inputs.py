"""The WARC files of a configuration, and what the manifest records of them."""

from __future__ import annotations

import os
from itertools import takewhile
from pathlib import Path

import fsspec

from data_pipeline.corpus.config import CorpusConfig
from data_pipeline.decontaminate.evals import evaluation_files
from data_pipeline.read import WarcSource
from millbase.artifacts import MANIFEST
from millbase.errors import InputError
from millbase.files import glob_files


def find_files(config: CorpusConfig) -> tuple[list[WarcSource], str]:
    """Every WARC file in source order, then by name, and the folder their `warc_file` names are relative to.

    Raises InputError when a pattern matches nothing or a file belongs to two sources.
    """
    found: dict[str, str] = {}
    for source in config.sources:
        for path in glob_files(source.inputs, what=f"source {source.name!r}"):
            path = path if "://" in path else os.path.abspath(path)
            if path in found:
                raise InputError(
                    f"WARC file {path!r} is in source {found[path]!r} and in {source.name!r}; "
                    "narrow the inputs so that each file is in one source"
                )
            found[path] = source.name
    root = common_folder(list(found))
    dumps = {source.name: source.dump for source in config.sources}
    files = [WarcSource(path, path.removeprefix(root), name, dumps[name]) for path, name in found.items()]
    return files, root


def sorted_inputs(inputs: str | list[str]) -> str | list[str]:
    """`inputs` in an order of their own, for the record: files are read by name, however they are listed."""
    return inputs if isinstance(inputs, str) else sorted(inputs)


def common_folder(paths: list[str]) -> str:
    """The longest common folder of `paths`, with its final slash."""
    folders = [path.split("/")[:-1] for path in paths]
    common = takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False))
    return "".join(f"{parts[0]}/" for parts in common)


def file_sizes(files: list[WarcSource]) -> list[int]:
    """Bytes of each file; 1 for remote files whose server does not tell."""
    sizes = []
    for file in files:
        filesystem, path = fsspec.core.url_to_fs(file.path)
        sizes.append(int(filesystem.info(path).get("size") or 1))
    return sizes


def manifest_inputs(config: CorpusConfig, files: list[WarcSource]) -> dict[str, str | list[str] | None]:
    """Inputs for the manifest: the artifact that holds a WARC file rather than the file, where there is one."""
    owners: dict[str, str] = {}
    plain: list[str] = []
    for file in files:
        owner = owning_artifact(file.path)
        if owner is None:
            plain.append(file.path)
        else:
            owners.setdefault(owner, f"crawl.{len(owners)}" if owners else "crawl")
    inputs: dict[str, str | list[str] | None] = {name: path for path, name in owners.items()}
    lists = (
        config.url.domain_lists + config.url.banned_words + config.url.banned_subwords + config.url.soft_banned_words
    )
    inputs |= {"warc": plain, "lists": lists, "quality_model": config.quality.model}
    inputs |= {"language_model": config.language.model, "truth": config.truth}
    inputs["evaluation_sets"] = evaluation_files(config.decontaminate)
    return inputs


def owning_artifact(path: str) -> str | None:
    """The artifact directory that `path` lies in, if any."""
    if "://" in path:
        return None
    return next((str(folder) for folder in Path(path).parents if (folder / MANIFEST).is_file()), None)
