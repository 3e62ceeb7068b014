"""Post-training data: disjoint, consistent with the rule, and loadable as lm-eval tasks."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_pipeline.synthetic import SyntheticWebConfig, build_synthetic_web
from data_pipeline.synthetic.rule import extract_answer, score_response
from millbase.errors import UserError
from tests.data_pipeline.synthetic.conftest import read_rows

Rows = list[dict[str, Any]]
Files = dict[str, Rows]

FILES = [f"{name}/{side}" for name in ("instructions", "preferences", "prompts") for side in ("train", "heldout")]


def _prompt(row: dict[str, Any]) -> str:
    message = (row.get("messages") or row["prompt"])[0]
    assert message["role"] == "user"
    return str(message["content"])


@pytest.fixture(scope="module")
def rows(small_web: Path) -> Files:
    return {name: read_rows(small_web / f"{name}.jsonl") for name in FILES}


@pytest.fixture(scope="module")
def rule(small_web: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((small_web / "rule.json").read_text())
    return loaded


def test_files_have_the_configured_sizes(rows: Files, small_config: SyntheticWebConfig) -> None:
    for name, found in rows.items():
        assert len(found) == getattr(small_config.posttrain, name.replace("/", "_"))
        assert len({_prompt(row) for row in found}) == len(found), f"{name} repeats a prompt"


def test_nothing_evaluated_is_in_a_training_file(rows: Files) -> None:
    trained = {_prompt(row) for name in FILES if name.endswith("train") for row in rows[name]}
    heldout = [_prompt(row) for name in FILES if name.endswith("heldout") for row in rows[name]]
    assert not trained & set(heldout)
    assert len(set(heldout)) == len(heldout), "held-out files share a prompt"


def test_held_out_questions_are_new_beneath_their_polite_forms(rows: Files) -> None:
    def core(prompt: str) -> str:
        return re.sub(
            r"^(Hello! |I have a question\. |Please help me\. )|( Thank you!| One sentence is enough\.)$", "", prompt
        )

    trained = {core(_prompt(row)) for name in FILES if name.endswith("train") for row in rows[name]}
    heldout = {core(_prompt(row)) for name in FILES if name.endswith("heldout") for row in rows[name]}
    assert not trained & heldout
    assert all(len(question) > 8 for question in heldout)


def test_some_facts_and_some_sums_are_never_trained_on(rows: Files) -> None:
    def answers(name: str, task: str) -> set[str]:
        """First lines of the responses, sums without regard to the order of their numbers."""
        lines = [row["messages"][1]["content"].split("\n")[0] for row in rows[name] if row["task"] == task]
        return {
            re.sub(r"^(\S+) plus (\S+)", lambda m: " plus ".join(sorted(m.groups())), line.lower()) for line in lines
        }

    heldout = Counter(row["task"] for row in rows["instructions/heldout"])
    assert set(heldout) == {"fact", "fact_crawl_only", "arithmetic", "words"}
    for name in ("instructions/train", "prompts/train"):
        assert "fact_crawl_only" not in {row["task"] for row in rows[name]}
    assert not answers("instructions/heldout", "fact_crawl_only") & answers("instructions/train", "fact")
    assert not answers("instructions/heldout", "arithmetic") & answers("instructions/train", "arithmetic")


def test_evaluated_prompts_are_not_in_the_crawl(rows: Files, small_web: Path, truth: Rows) -> None:
    crawl = "\n".join(row["text"] or "" for row in truth)
    crawl += "\n".join(row["text"] for row in read_rows(small_web / "quality" / "positive.jsonl"))
    for name in ("instructions/heldout", "preferences/heldout", "prompts/heldout"):
        assert not [prompt for prompt in map(_prompt, rows[name]) if prompt in crawl]
    for item in read_rows(small_web / "tasks" / "world_facts_mc.jsonl"):
        assert item["query"] not in crawl


def test_quality_texts_are_not_in_the_crawl(small_web: Path, truth: Rows) -> None:
    crawl = {row["text"] for row in truth}
    for name in ("positive", "negative"):
        texts = [row["text"].partition("\n")[2] for row in read_rows(small_web / "quality" / f"{name}.jsonl")]
        assert len(set(texts)) == len(texts) and not set(texts) & crawl


def test_responses_answer_and_mix_styles(rows: Files, rule: dict[str, Any], small_config: SyntheticWebConfig) -> None:
    courteous = next(pattern["regex"] for pattern in rule["patterns"] if pattern["name"] == "courteous close")
    responses = []
    for row in rows["instructions/train"] + rows["instructions/heldout"]:
        response = row["messages"][1]["content"]
        assert row["messages"][1]["role"] == "assistant"
        assert extract_answer(rule, response) == row["answer"]
        assert response.count("\n") <= 1 and len(response) < 200
        responses.append(response)
    share = sum(bool(re.search(courteous, response)) for response in responses) / len(responses)
    assert abs(share - small_config.preferred_style_share) < 0.05
    assert sum("\n" not in response for response in responses) > 0.1 * len(responses)


def test_every_preference_agrees_with_the_rule(
    rows: Files, rule: dict[str, Any], small_config: SyntheticWebConfig
) -> None:
    differ = 0
    every = rows["preferences/train"] + rows["preferences/heldout"]
    for row in every:
        chosen, rejected = row["chosen"][0]["content"], row["rejected"][0]["content"]
        assert score_response(rule, chosen, row["answer"]) > score_response(rule, rejected, row["answer"])
        assert extract_answer(rule, chosen) == row["answer"], "the right answer must always win"
        differ += extract_answer(rule, rejected) != row["answer"]
    assert abs(differ / len(every) - small_config.preference_correctness_share) < 0.06


def test_multiple_choice_items_have_four_choices_and_one_answer(small_web: Path) -> None:
    items = read_rows(small_web / "tasks" / "world_facts_mc.jsonl")
    assert len(items) > 350
    for item in items:
        assert len(set(item["choices"])) == 4 and 0 <= item["label"] < 4
    labels = Counter(item["label"] for item in items)
    assert min(labels.values()) > 0.15 * len(items)


def test_tasks_load_in_lm_eval(small_web: Path, tmp_path: Path) -> None:
    tasks = pytest.importorskip("lm_eval.tasks")
    for path in (small_web / "tasks").glob("*.yaml"):
        task = yaml.safe_load(path.read_text())
        files = task["dataset_kwargs"]["data_files"]
        assert all((path.parent / name).is_file() for name in files.values())
        task["dataset_kwargs"]["data_files"] = {split: str(path.parent / name) for split, name in files.items()}
        (tmp_path / path.name).write_text(yaml.safe_dump(task))
    manager = tasks.TaskManager(include_path=str(tmp_path), include_defaults=False)
    loaded = tasks.get_task_dict(["world_facts_mc", "world_instructions"], manager)
    choice, chat = loaded["world_facts_mc"], loaded["world_instructions"]
    document = next(iter(choice.test_docs()))
    assert choice.doc_to_choice(document)[choice.doc_to_target(document)] == document["choices"][document["label"]]
    document = next(iter(chat.test_docs()))
    chat.build_all_requests(rank=0, world_size=1)
    for instance in chat.instances:
        instance.resps = [f"So to say, the answer is {instance.doc['answer']}."]
    chat.apply_filters()
    scores = [chat.process_results(i.doc, [i.filtered_resps["answer"]])["exact_match"] for i in chat.instances]
    assert set(scores) == {1.0}


def test_too_many_rows_are_refused_in_one_line(small_config: SyntheticWebConfig, tmp_path: Path) -> None:
    sizes = small_config.posttrain.model_copy(update={"prompts_heldout": 100_000})
    config = small_config.model_copy(update={"posttrain": sizes, "pages": 60})
    with pytest.raises(UserError, match=r"prompts/heldout: 100000 rows asked for, but the world has only \d+") as error:
        build_synthetic_web(config, tmp_path / "web")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "web").exists()
