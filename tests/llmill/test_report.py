"""The report: everything of a run on one page that needs nothing else, and no text of it is markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fake_run import HOSTILE, FakeRun, make_run

from llmill.report import ReportConfig, build_report, config_for_run
from llmill.report.plots import training_panels
from millbase.artifacts import open_artifact
from millbase.errors import ArtifactError, ConfigError

NAMES = ["web", "corpus", "tokens", "pretrain", "eval_base", "sft", "eval_sft", "ppo", "eval_ppo"]


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> FakeRun:
    return make_run(tmp_path_factory.mktemp("report") / "run")


@pytest.fixture(scope="module")
def page(fake: FakeRun) -> str:
    config = ReportConfig(artifacts={name: str(getattr(fake, name)) for name in NAMES}, title=f"Title {HOSTILE}")
    build_report(config, fake.report)
    return (fake.report / "index.html").read_text()


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "br", "path", "use", "rect"):
            self.open.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data


def _parse(page: str) -> _Elements:
    elements = _Elements()
    elements.feed(page)
    return elements


def test_shows_every_part(page: str) -> None:
    text = re.sub(r"\s+", " ", _parse(page).text)
    for expected in (
        "2 of 3", "gates passed",  # verdict
        "base: exact match rises", ">= 0.3",  # gates
        "1,200 records read, 450 documents kept", "blocked domain 60", "97.8%", "98.9%",  # funnel, precision
        "pretrain: loss", "ppo: reward", "ppo: KL from the reference",  # curves
        "world_instructions", "[0.67, 0.75]", "n=500", "no difference",  # scores
        "What is the capital of Zorland?", "ppo: The capital of Zorland is Melk.",  # samples
        "python 3.",  # versions
    ):  # fmt: skip
        assert expected in text, expected
    assert open_artifact_digest(page)


def open_artifact_digest(page: str) -> bool:
    """The lineage table names digests."""
    return bool(re.search(r'<code title="sha256:[0-9a-f]{64}">[0-9a-f]{12}</code>', page))


def test_comparisons_say_their_adjusted_p_and_scores_what_is_clean(page: str) -> None:
    assert "adjusted (Holm)" in page and '<td class="n">0.0014</td>' in page
    assert "clean 0.123 (7% found)" in page


def test_text_is_escaped_everywhere(page: str) -> None:
    elements = _parse(page)
    assert "script" not in elements.tags and "b" in elements.tags
    assert elements.text.count('<script>alert("x")</script>') >= 4, "title, prompt, answers and example, as text"
    assert not any(name.startswith("on") for name, _ in elements.attributes)
    assert elements.open == [], "every element is closed"


def test_needs_no_network(page: str) -> None:
    elements = _parse(page)
    links = [value for name, value in elements.attributes if name in ("href", "src", "xlink:href")]
    assert links and all(link.startswith("#") for link in links)
    assert not {"link", "img", "iframe", "object"} & set(elements.tags)
    assert "url(http" not in page and "@import" not in page
    assert "default-src 'none'" in page
    assert len(page) < 400_000


def test_curves_follow_the_page_colours(page: str) -> None:
    assert page.count("<svg") == 5
    assert "#010203" not in page and "#040506" not in page and "var(--line)" in page


def test_is_an_artifact_with_its_inputs(fake: FakeRun, page: str) -> None:
    manifest = open_artifact(fake.report, kind="report")
    assert set(manifest.inputs) == set(NAMES)
    assert manifest.stats == {"gates": 3, "gates_passed": 2}


def test_panels_skip_what_is_not_there_and_stay_small() -> None:
    assert training_panels([]) == []
    assert training_panels([{"step": 1, "time": 0.0, "loss": 1.0}]) == [], "one point is no curve"
    lines = [{"step": step, "time": 0.0, "loss": None if step == 3 else 1.0 / (step + 1)} for step in range(5000)]
    (panel,) = training_panels(lines)
    assert panel.title == "loss" and panel.last.startswith("loss 0.0002") and len(panel.svg) < 40_000


def test_mistakes(tmp_path: Path, fake: FakeRun) -> None:
    with pytest.raises(ConfigError, match="artifacts is empty"):
        build_report(ReportConfig(artifacts={}), tmp_path / "report")
    with pytest.raises(ArtifactError, match="is not a run directory"):
        config_for_run(tmp_path)
    with pytest.raises(ArtifactError, match="does not exist"):
        build_report(ReportConfig(artifacts={"x": str(tmp_path / "no")}), tmp_path / "report")
    assert not (tmp_path / "report").exists()
