"""Code version of a stage: a digest over the sources it can reach, so that an edit reruns what it touches, and no more.

Starting at the build function's module, imports are followed statically (``ast``) through our own packages.
Strings that name one of our modules (``torchrun("training.pretrain.worker", ...)``) are followed too, and so are
the package ``__init__`` files on the way. Files that are not Python beside a reached module (templates, word lists,
native sources) are part of the digest. Third-party packages are not: their versions stand in the manifest.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

from millbase.hashing import file_digest, value_digest

OUR_PACKAGES = ("millbase", "data_pipeline", "training", "evaluation", "llmill")
_IGNORED_SUFFIXES = {".py", ".pyc", ".so", ".md"}
_DOTTED = re.compile(r"^[a-z_]\w*(\.\w+)+(:\w+)?$")


@functools.cache
def code_version(module: str) -> str:
    """Digest of every project source that ``module`` reaches; a module outside our packages counts as itself only."""
    roots = {*OUR_PACKAGES, module.partition(".")[0]}
    found = reachable(module, frozenset(roots))
    files: dict[str, str] = {}
    for name, path in found.items():
        files[name] = file_digest(path)
        for beside in path.parent.iterdir():
            if beside.is_file() and beside.suffix not in _IGNORED_SUFFIXES and not beside.name.startswith("."):
                files[f"{name.rpartition('.')[0]}/{beside.name}"] = file_digest(beside)
    return value_digest(files)


def reachable(module: str, roots: frozenset[str]) -> dict[str, Path]:
    """Modules of the ``roots`` packages that ``module`` imports, directly or not, with their files."""
    found: dict[str, Path] = {}
    queue = [module]
    while queue:
        name = queue.pop()
        path = _module_file(name) if name.partition(".")[0] in roots else None
        if path is None or name in found:
            continue
        found[name] = path
        queue.extend(imports(path, name))
        if "." in name:
            queue.append(name.rpartition(".")[0])
    return dict(sorted(found.items()))


@functools.cache
def imports(path: Path, module: str) -> tuple[str, ...]:
    """Dotted names that a source file imports or mentions as a module in a string."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return tuple(sorted(set(_names(tree, package))))


def _names(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *([base] if base else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)  # the alias may itself be a module
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _DOTTED.match(node.value):
            yield node.value.partition(":")[0]


@functools.cache
def _module_file(name: str) -> Path | None:
    """The source file of a module, found without importing it (parents are packages of ours, so cheap to search)."""
    head, _, rest = name.partition(".")
    spec = importlib.util.find_spec(head)
    if spec is None or spec.origin is None:
        return None
    base = Path(spec.origin)
    if not rest:
        return base
    if base.name != "__init__.py":
        return None
    path = base.parent.joinpath(*rest.split("."))
    for candidate in (path / "__init__.py", path.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None
