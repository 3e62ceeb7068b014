"""Lineage on the terminal: a tree of artifacts, then each document's way back to its WARC record."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from rich.tree import Tree

from llmill.lineage.documents import DocumentTrace, read_record
from llmill.lineage.walk import Node
from llmill.views.show import console
from millbase.errors import ArtifactError, InputError


def print_lineage(tree: Node, traces: Sequence[DocumentTrace] = (), *, content: bool = False) -> None:
    """Print the artifacts behind ``tree`` and the traces; ``content``: with the first bytes of each record."""
    output = console()
    output.print(_artifact_tree(tree))
    for trace in traces:
        output.print(_document_tree(trace, content=content))


def _artifact_tree(node: Node, parent: Tree | None = None) -> Tree:
    label = _label(node)
    branch = Tree(label) if parent is None else parent.add(label)
    for child in node.children:
        _artifact_tree(child, branch)
    return branch


def _label(node: Node) -> Text:
    text = Text()
    if node.label:
        text.append(f"{node.label}: ", style="dim")
    text.append(node.kind, style="bold cyan")
    text.append(f"  {node.path}")
    if node.files:
        shown = node.files[0].name if len(node.files) == 1 else f"{len(node.files)} files"
        text.append(f"  ({shown})")
    text.append(f"  {node.digest.partition(':')[2][:12]}", style="dim")
    if node.repeated:
        text.append("  (as above)", style="dim")
    if node.problem:
        text.append(f"  {node.problem}", style="bold red")
    return text


def _document_tree(trace: DocumentTrace, *, content: bool) -> Tree:
    tree = Tree(Text(f"document {trace.id}", style="bold"))
    for line in [*trace.items, *trace.rows]:
        tree.add(Text(line))
    record = trace.record
    if record is None:
        tree.add(Text("no corpus behind this artifact holds it", style="dim"))
        return tree
    where = record.found or record.file
    branch = tree.add(Text(f"WARC {where}, offset {record.offset}, length {record.length}"))
    if record.found is None:
        branch.add(Text("the file is no longer there", style="bold red"))
    branch.add(Text(record.url))
    if content:
        _add_content(branch, trace)
    return tree


def _add_content(branch: Tree, trace: DocumentTrace) -> None:
    assert trace.record is not None
    try:
        headers, content = read_record(trace.record)
    except (ArtifactError, InputError) as error:
        branch.add(Text(str(error), style="bold red"))
        return
    for name in ("WARC-Date", "WARC-Record-ID", "Content-Length"):
        if name in headers:
            branch.add(Text(f"{name}: {headers[name]}", style="dim"))
    branch.add(Text(_printable(content)))


def _printable(content: bytes) -> str:
    """Text of page bytes, without control characters that could move the cursor or recolour the terminal."""
    text = content.decode("utf-8", errors="replace").replace("\r\n", "\n")
    return "".join(
        character if character.isprintable() or character == "\n" else "\N{REPLACEMENT CHARACTER}" for character in text
    )
