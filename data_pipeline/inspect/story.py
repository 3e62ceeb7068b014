"""The whole story of one page: what every step measured on it, its text on the way, its copies, and where it lies.

Nothing of this is stored with the corpus. The page is read again from its WARC record and goes through the corpus's own
steps; what they decide now is compared with what the corpus recorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from datatrove.data import Document

from data_pipeline.base import CorpusStep, Drop, Measure
from data_pipeline.inspect.crawl import Crawl
from data_pipeline.inspect.duplicates import DuplicateStory, duplicate_story
from data_pipeline.inspect.tables import find_rows
from millbase.errors import InputError, UserError

Outcome = Literal["passed", "dropped", "not reached"]
_SILENT = ("minhash_dedup", "decontaminate")  # they only prepare what is decided over all documents
_LONGEST = 200


@dataclass
class StepStory:
    """One step and one page."""

    step: str
    outcome: Outcome
    """`not reached`: an earlier step dropped the page; the values are what this step would have said."""
    drop: Drop | None
    """Why the step drops the page, in the corpus or, where not reached, would."""
    measures: list[Measure]
    """What each rule says; empty for steps without rules, or that tell only failures."""
    characters: int
    """Length of the text after the step."""
    changed: bool
    """Whether the step changed the text."""
    sets: dict[str, Any] = field(default_factory=dict)
    """Columns that the step sets, such as the language found."""
    text: str | None = None
    """The text after the step, where asked for."""


@dataclass
class PageStory:
    """What became of one record."""

    status: Literal["kept", "dropped"]
    id: str
    url: str
    row: dict[str, Any]
    """The page's row in the corpus's tables, without its text."""
    warc_file: str | None
    """Where the file is now; None when it is gone."""
    steps: list[StepStory] = field(default_factory=list)
    """Empty when the record cannot be read again; `notes` says why."""
    duplicates: DuplicateStory | None = None
    """Its cluster; None where the corpus found no copy of it."""
    notes: list[str] = field(default_factory=list)
    """What the reader should know, such as a decision that differs from the recorded one."""

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def tell_story(crawl: Crawl, url_or_id: str, text: bool = False, members: int = 10) -> list[PageStory]:
    """One story for each record with this id or URL, kept ones first.

    `text` keeps the text after each step; of a cluster's other documents `members` are compared with the page.
    Raises InputError when the corpus read no such page.
    """
    wanted = url_or_id.strip()
    stories = [_story(crawl, status, row, text, members) for status, row in find_page(crawl, wanted)]
    if not stories:
        raise InputError(
            f"no page with the id or URL {wanted!r} is among the {crawl.manifest.stats['read']} pages read into "
            f"{str(crawl.path)!r}; give the id or the full URL as the crawl has it"
        )
    return stories


def find_page(crawl: Crawl, wanted: str) -> Iterator[tuple[Literal["kept", "dropped"], dict[str, Any]]]:
    """(status, row) of every record with this id or URL."""
    statuses: tuple[tuple[Literal["kept", "dropped"], str], ...] = (("kept", "data"), ("dropped", "dropped"))
    for status, folder in statuses:
        seen = set()
        for column in ("id", "url"):
            for row in find_rows(crawl.path / folder, column, [wanted]):
                if row["id"] not in seen:
                    seen.add(row["id"])
                    yield status, row


def _story(
    crawl: Crawl, status: Literal["kept", "dropped"], row: dict[str, Any], text: bool, members: int
) -> PageStory:
    story = PageStory(status, row["id"], row["url"], row, None)
    final_text = None
    try:
        story.warc_file = crawl.locate(row["warc_file"])
        document, read_drop = crawl.read(row)
        story.steps, final_text = _run_steps(crawl, document, read_drop, row, text)
        story.notes += _contradictions(story, row)
    except UserError as error:
        story.notes.append(f"the page could not be judged again: {error}")
    story.duplicates = duplicate_story(crawl, status, row, final_text, members)
    return story


def _run_steps(
    crawl: Crawl, document: Document, read_drop: Drop | None, row: dict[str, Any], text: bool
) -> tuple[list[StepStory], str | None]:
    """The story of each step, and the text that duplicates were looked for with (None where a step stopped it)."""
    measures = measure_read(crawl, document, read_drop)
    stories = [StepStory("read", "passed" if read_drop is None else "dropped", read_drop, measures, 0, False)]
    stopped = read_drop is not None
    for step in () if stopped else crawl.steps:
        if step.step_name in _SILENT:
            continue
        before, columns = document.text, _scalars(document.metadata)
        drop, measures = judge_and_measure(step, document)
        outcome: Outcome = "not reached" if stopped else "passed" if drop is None else "dropped"
        sets = {name: value for name, value in _scalars(document.metadata).items() if columns.get(name) != value}
        story = StepStory(
            step.step_name, outcome, drop, measures, len(document.text), document.text != before, sets, None
        )
        story.text = document.text if text else None
        stories.append(story)
        stopped = stopped or drop is not None
        if not document.text and step.step_name == "extract":
            break  # the other steps say nothing about no text
    if row.get("step") is not None and row["step"] not in {story.step for story in stories} and not stopped:
        drop = Drop(row["reason"], row["value"], row["threshold"], row["detail"])  # by a look at all documents
        stories.append(StepStory(row["step"], "dropped", drop, [], len(document.text), False))
    return stories, None if stopped else document.text


def _scalars(metadata: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Numbers and short texts among what documents carry; nested ones by dotted names."""
    found: dict[str, Any] = {}
    for name, value in metadata.items():
        if isinstance(value, dict):
            found |= _scalars(value, f"{prefix}{name}.")
        elif isinstance(value, (int, float, str)) and len(str(value)) <= _LONGEST:
            found[f"{prefix}{name}"] = value
    return found


def judge_and_measure(step: CorpusStep, document: Document) -> tuple[Drop | None, list[Measure]]:
    """The step's decision and its measures; `document` is changed as the step changes it."""
    drop = step._judge_safely(Document(text=document.text, id=document.id, metadata=dict(document.metadata)))
    measures = step.measure(document)
    return drop, measures


def measure_read(crawl: Crawl, document: Document, drop: Drop | None) -> list[Measure]:
    """What the read step looked at."""
    if drop is not None:
        return [
            Measure(drop.reason, drop.value if drop.value is not None else drop.detail, drop.threshold, passed=False)
        ]
    size, limit = len(document.metadata.get("html") or b""), crawl.config.read.max_record_bytes
    return [Measure("too_large", float(size), float(limit), size <= limit)]


def _contradictions(story: PageStory, row: dict[str, Any]) -> list[str]:
    """Where the steps decide otherwise now than the corpus recorded."""
    first = next((step for step in story.steps if step.outcome == "dropped"), None)
    names = {step.step for step in story.steps}
    recorded = (row["step"], row["reason"]) if story.status == "dropped" and row["step"] in names else None
    now = (first.step, first.drop.reason) if first is not None and first.drop is not None else None
    if now == recorded:
        return []
    then = f"dropped by {recorded[0]} for {recorded[1]}" if recorded else "passed by all of these steps"
    today = f"{now[0]} drops it for {now[1]}" if now else "all of them pass it"
    return [f"the corpus recorded it as {then}, today {today}: the code, a model or a list changed since"]
