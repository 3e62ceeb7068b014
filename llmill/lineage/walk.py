"""The tree of artifacts behind one artifact, by path and digest.

Manifests record each input's path and digest. When a path leads nowhere (the run was moved or copied), an artifact
of the recorded digest is looked for beside the artifact that names it and beside the one that was asked about.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from millbase.artifacts import MANIFEST, Manifest, open_artifact
from millbase.errors import ArtifactError


@dataclass
class Node:
    """One artifact, or a group of plain files, in the tree."""

    label: str
    """What the artifact above calls it (``corpus``, ``model``); the names of a list are folded into one."""
    path: Path
    kind: str
    digest: str
    """Recorded by the artifact above; of several files, of the first."""
    manifest: Manifest | None = None
    """None for plain files and for what was not found."""
    problem: str | None = None
    """Why the walk stopped here: missing, or changed since."""
    files: list[Path] = field(default_factory=list)
    """The plain files that the artifact above read, inside ``path`` when that is an artifact."""
    children: list[Node] = field(default_factory=list)
    repeated: bool = False
    """Its children were shown at its first appearance."""

    def nodes(self) -> Iterator[Node]:
        """This node and all below."""
        yield self
        for child in self.children:
            yield from child.nodes()

    def artifacts(self, kind: str) -> list[Manifest]:
        """Distinct artifacts of one kind in this tree, nearest first in reading order."""
        found = {
            node.manifest.digest: node.manifest
            for node in reversed(list(self.nodes()))
            if node.manifest is not None and node.manifest.kind == kind
        }
        return list(reversed(found.values()))


def owner(path: str | Path) -> Path | None:
    """The artifact directory that ``path`` is or lies in."""
    path = Path(path)
    return next((place for place in (path, *path.parents) if (place / MANIFEST).is_file()), None)


def walk(path: str | Path) -> Node:
    """The tree behind the artifact that ``path`` is or lies in. ArtifactError when it is in none."""
    root = owner(path)
    if root is None:
        manifest = open_artifact(path, verify=False)  # raises with the reason
        root = manifest.path
    manifest = open_artifact(root, verify=False)
    node = Node("", root, manifest.kind, manifest.digest, manifest)
    _expand(node, _Finder(root), set())
    return node


class _Finder:
    """Looks artifacts up by digest in the neighbourhood of known ones; each folder is read once."""

    def __init__(self, start: Path) -> None:
        self._by_digest: dict[str, Path] = {}
        self._seen: set[Path] = set()
        self.look_beside(start)

    def look_beside(self, artifact: Path) -> None:
        """Learn the artifacts in the folder of ``artifact`` and one level below."""
        folder = artifact.resolve().parent
        if folder in self._seen:
            return
        self._seen.add(folder)
        for pattern in (f"*/{MANIFEST}", f"*/*/{MANIFEST}"):
            for found in sorted(folder.glob(pattern)):
                try:
                    manifest = open_artifact(found.parent, verify=False)
                except ArtifactError:
                    continue
                self._by_digest.setdefault(manifest.digest, found.parent)

    def find(self, path: Path, digest: str) -> Manifest | None:
        """The artifact at ``path`` when it has the digest, else one nearby that has, else what is at ``path``."""
        here = _open(path)
        if here is not None and here.digest == digest:
            return here
        elsewhere = self._by_digest.get(digest)
        return (_open(elsewhere) if elsewhere else None) or here

    def moved(self, path: Path) -> Path | None:
        """A plain file at its recorded path, or the file of that name inside an artifact nearby."""
        if path.exists():
            return path
        for artifact in self._by_digest.values():
            manifest = _open(artifact)
            inside = [name for name in (manifest.files if manifest else {}) if str(path).endswith(f"/{name}")]
            if inside:
                return artifact / inside[0]
        return None


def _open(path: Path) -> Manifest | None:
    try:
        return open_artifact(path, verify=False)
    except ArtifactError:
        return None


def _expand(node: Node, finder: _Finder, seen: set[str]) -> None:
    manifest = node.manifest
    if manifest is None:
        return
    if manifest.digest in seen:
        node.repeated = bool(manifest.inputs)
        return
    seen.add(manifest.digest)
    finder.look_beside(manifest.path)
    node.children = _children(manifest, finder)
    for child in node.children:
        _expand(child, finder, seen)


def _children(manifest: Manifest, finder: _Finder) -> list[Node]:
    nodes: dict[tuple[str, str], Node] = {}
    for name, item in manifest.inputs.items():
        label = name.partition(".")[0]
        node = _child(label, item, finder)
        same = nodes.setdefault((label, str(node.path)), node)
        if same is not node:
            same.files += node.files
            same.problem = same.problem or node.problem
    return list(nodes.values())


def _child(label: str, item: dict[str, Any], finder: _Finder) -> Node:
    path, kind, digest = Path(item["path"]), item["kind"], item["digest"]
    if kind in ("file", "directory", "remote"):
        return _plain(label, path, kind, digest, finder)
    found = finder.find(owner(path) or path, digest)
    if found is None:
        return Node(label, path, kind, digest, problem="not found")
    problem = None if found.digest == digest else "changed since: it was rebuilt after this was made"
    return Node(label, found.path, found.kind, digest, found, problem)


def _plain(label: str, path: Path, kind: str, digest: str, finder: _Finder) -> Node:
    if kind == "remote":
        return Node(label, path, kind, digest, files=[path])
    place = finder.moved(path)
    if place is None:
        return Node(label, path.parent, kind, digest, problem=f"{path.name} not found", files=[path])
    home = owner(place)
    if home is None:
        return Node(label, place.parent, kind, digest, files=[place])
    manifest = open_artifact(home, verify=False)
    return Node(label, home, manifest.kind, manifest.digest, manifest, files=[place])
