"""The story of a page, and samples of pages."""

from __future__ import annotations

from rich.text import Text

from data_pipeline.base import Drop, Measure
from data_pipeline.inspect.sample import SampledPage
from data_pipeline.inspect.story import PageStory, StepStory
from llmill.views.show import beginning, console, print_table, printable, words

_OUTCOMES = {"passed": "green", "dropped": "bold red", "not reached": "dim"}
_SAMPLE_CHARACTERS = 600


def print_story(story: PageStory, text: bool) -> None:
    """One page: verdict, record, steps with values against thresholds, copies, and the texts where asked for."""
    out = console()
    row = story.row
    out.print(
        Text(f"{story.status}: {printable(story.url)}", style="bold green" if story.status == "kept" else "bold red")
    )
    if story.status == "dropped":
        drop = Drop(row["reason"], row["value"], row["threshold"], row["detail"])
        out.print(Text(printable(f"  step {row['step']}, {describe_drop(drop)}")))
    place = story.warc_file or row["warc_file"]
    out.print(Text(f"  id {story.id}, source {row['source']}"))
    out.print(Text(f"  record: {place}, offset {row['warc_offset']}, length {row['warc_length']}"))
    for note in story.notes:
        out.print(Text(printable(f"  note: {note}"), style="yellow"))
    print()
    if story.steps:
        print_table(
            "",
            ["step", "outcome", "rule", "value", "threshold", "characters after"],
            _rows(story),
            left=["value", "threshold"],
        )
    _print_duplicates(story)
    for step in story.steps if text else ():
        if step.text is not None and (step.changed or step.step == "extract"):
            out.print(Text(f"--- text after {step.step} ({len(step.text):,} characters)", style="bold"))
            out.print(Text(printable(step.text)))
            print()


def describe_drop(drop: Drop) -> str:
    """Reason, value, threshold and detail in a line."""
    measured = "" if drop.value is None else f": {words(drop.value)}"
    limit = "" if drop.threshold is None else f" (threshold {words(drop.threshold)})"
    return f"reason {drop.reason}{measured}{limit}" + (f", {drop.detail}" if drop.detail else "")


def _rows(story: PageStory) -> list[list[object]]:
    rows: list[list[object]] = []
    for step in story.steps:
        style = _OUTCOMES[step.outcome]
        length = f"{step.characters:,}" + (" (changed)" if step.changed and step.step != "extract" else "")
        measures = _measures(step)
        for index, measure in enumerate(measures or [None]):
            first = index == 0
            cells: list[object] = [step.step if first else "", Text(step.outcome if first else "", style=style)]
            if measure is None:
                cells += ["", ", ".join(f"{name} {words(value)}" for name, value in step.sets.items()), ""]
            else:
                mark = "" if measure.passed else "  <- fails"
                cells += [
                    Text(f"{measure.rule}{mark}", style="" if measure.passed else "red"),
                    measure.value,
                    measure.threshold,
                ]
            rows.append([*cells, length if first and step.step != "read" else ""])
        if measures and step.sets:
            rows.append(
                ["", "", "sets", ", ".join(f"{name} {words(value)}" for name, value in step.sets.items()), "", ""]
            )
    return rows


def _measures(step: StepStory) -> list[Measure]:
    """The step's rules; the reason for a drop that no rule shows."""
    if step.drop is None or any(not measure.passed for measure in step.measures):
        return step.measures
    value = step.drop.value if step.drop.value is not None else step.drop.detail
    return [*step.measures, Measure(step.drop.reason, value, step.drop.threshold, passed=False)]


def _print_duplicates(story: PageStory) -> None:
    cluster = story.duplicates
    if cluster is None:
        return
    rows = [[m.id, m.status, m.jaccard, m.estimate, m.characters, printable(m.url)] for m in cluster.members]
    shown = f", {len(rows)} of them here" if len(rows) < cluster.size - 1 else ""
    title = f"copies: a cluster of {cluster.size} documents{shown}; Jaccard with this page over {cluster.shingle}"
    print_table(title, ["id", "status", "Jaccard", "estimate", "characters", "url"], rows)


def print_sample(pages: list[SampledPage]) -> None:
    """Each page of a sample: address, why it was dropped, and the beginning of its text."""
    out = console()
    for page in pages:
        out.print(Text(printable(page.url), style="bold"))
        if page.step is not None and page.reason is not None:
            drop = Drop(page.reason, page.value, page.threshold, page.detail)
            out.print(Text(printable(f"  step {page.step}, {describe_drop(drop)}"), style="red"))
        text = "(no text)" if page.text is None else printable(beginning(page.text, _SAMPLE_CHARACTERS))
        out.print(Text("\n".join(f"  | {line}" for line in text.splitlines())))
        print()
