"""The input files of a configuration, and what the manifest records of them."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from data_pipeline.corpus.config import CorpusConfig, SourceConfig
from data_pipeline.decontaminate.evals import evaluation_files
from data_pipeline.fetch import FetchConfig, dump_files, input_size
from data_pipeline.fetch.open import is_http, is_remote
from data_pipeline.read import InputFile
from millbase.artifacts import MANIFEST
from millbase.errors import InputError
from millbase.files import glob_files

_DUMP_FILE_BYTES = {"warc": 1_000_000_000, "wet": 130_000_000}
"""About what a file of CommonCrawl holds: asking for 90,000 sizes would take hours at a polite rate."""
_MAX_QUESTIONS = 100


def find_files(config: CorpusConfig) -> tuple[list[InputFile], str]:
    """Every input file in source order, then by name, and the folder their `warc_file` names are relative to.

    Raises InputError when a pattern matches nothing, a file belongs to two sources, or a dump cannot be listed.
    """
    found: dict[str, SourceConfig] = {}
    for source in config.sources:
        for path in _source_paths(source, config.read.fetch):
            path = path if is_remote(path) else os.path.abspath(path)
            if path in found:
                raise InputError(
                    f"input file {path!r} is in source {found[path].name!r} and in {source.name!r}; "
                    "narrow the inputs so that each file is in one source"
                )
            found[path] = source
    root = common_folder([_anchor(path, source) for path, source in found.items()])
    files = [_input_file(path, path.removeprefix(root), source) for path, source in found.items()]
    asked = [file for file in files if file.about_bytes is None and is_http(file.path)][:_MAX_QUESTIONS]
    sizes = {file.path: input_size(file.path, config.read.fetch) for file in asked}  # and so they exist
    return [replace(file, about_bytes=sizes[file.path]) if file.path in sizes else file for file in files], root


def _source_paths(source: SourceConfig, fetch: FetchConfig) -> list[str]:
    if source.crawl is not None:
        return dump_files(source.crawl, fetch)
    patterns = [source.inputs] if isinstance(source.inputs, str) else list(source.inputs or [])
    # plain http addresses are looked up later, at a polite rate
    addresses = [pattern for pattern in patterns if is_http(pattern) and "*" not in pattern]
    others = [pattern for pattern in patterns if pattern not in addresses]
    files = glob_files(others, what=f"source {source.name!r}") if others or not addresses else []
    return sorted({*addresses, *files})


def _anchor(path: str, source: SourceConfig) -> str:
    """What stands for a file in finding the common folder: files of a dump are named from its base, whichever the
    sample."""
    if source.crawl is None:
        return path
    base = source.crawl.base if is_remote(source.crawl.base) else os.path.abspath(source.crawl.base)
    return f"{base.rstrip('/')}/listing"


def _input_file(path: str, name: str, source: SourceConfig) -> InputFile:
    return InputFile(
        path,
        name,
        source.name,
        source.dump or (source.crawl.dump if source.crawl is not None else ""),
        format=source.format,
        columns=source.columns,
        text_documents=source.text_documents,
        about_bytes=_DUMP_FILE_BYTES[source.crawl.files] if source.crawl is not None else None,
    )


def sorted_inputs(inputs: str | list[str] | None) -> str | list[str] | None:
    """`inputs` in an order of their own, for the record: files are read by name, however they are listed."""
    return sorted(inputs) if isinstance(inputs, list) else inputs


def common_folder(paths: list[str]) -> str:
    """The longest common folder of `paths`, with its final slash."""
    folders = [path.split("/")[:-1] for path in paths]
    common = takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False))
    return "".join(f"{parts[0]}/" for parts in common)


def file_sizes(files: list[InputFile], fetch: FetchConfig) -> list[int]:
    """Bytes of each file, for the order of work and the progress bar. Of dumps' files, of http files whose server does
    not tell, and of those beyond the first hundred, it is a guess. Raises InputError when a file cannot be had."""
    sizes: list[int | None] = []
    for file in files:
        known = file.about_bytes is not None or is_http(file.path)
        sizes.append(file.about_bytes if known else input_size(file.path, fetch))
    told = [size for size in sizes if size is not None]
    usual = sum(told) // len(told) if told else 1
    return [max(usual if size is None else size, 1) for size in sizes]


def manifest_inputs(config: CorpusConfig, files: list[InputFile]) -> dict[str, str | list[str] | None]:
    """Inputs for the manifest: the artifact that holds an input file rather than the file, where there is one."""
    owners: dict[str, str] = {}
    plain: list[str] = []
    for file in files:
        owner = owning_artifact(file.path)
        if owner is None:
            plain.append(file.path)
        else:
            owners.setdefault(owner, f"crawl.{len(owners)}" if owners else "crawl")
    inputs: dict[str, str | list[str] | None] = {name: path for path, name in owners.items()}
    url = config.url
    lists = [*url.domain_lists, *url.address_lists, *url.allow_lists]
    lists += [*url.banned_words, *url.banned_subwords, *url.soft_banned_words]
    inputs |= {"warc": plain, "lists": lists, "quality_model": config.quality.model}
    inputs |= {"educational_model": config.educational.model, "toxicity_model": config.toxicity.model}
    inputs |= {f"perplexity_model.{language}": path for language, path in sorted(config.perplexity.models.items())}
    inputs |= {f"bad_words.{language}": path for language, path in sorted(config.bad_words.lists.items())}
    inputs |= {"language_model": config.language.model, "truth": config.truth}
    inputs["dedup_against"] = config.dedup.against
    inputs["evaluation_sets"] = evaluation_files(config.decontaminate)
    return inputs


def owning_artifact(path: str) -> str | None:
    """The artifact directory that `path` lies in, if any."""
    if "://" in path:
        return None
    return next((str(folder) for folder in Path(path).parents if (folder / MANIFEST).is_file()), None)
