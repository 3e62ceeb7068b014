"""The command line: fast help, one-line errors, suggestions, every field of a configuration in its help."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_run import make_run

REPOSITORY = Path(__file__).resolve().parent.parent.parent
RECIPES = sorted((REPOSITORY / "configs" / "recipes").glob("*.yaml"))


def _llmill(*words: str, cwd: Path = REPOSITORY, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "120", "NO_COLOR": "1", **environment}
    return subprocess.run(
        [sys.executable, "-m", "llmill", *words], cwd=cwd, env=env, capture_output=True, text=True, timeout=120
    )


def test_help_lists_every_command_without_heavy_imports() -> None:
    done = _llmill("--help")
    assert done.returncode == 0
    for name in [
        "run",
        "report",
        "web",
        "corpus",
        "tokenizer",
        "tokens",
        "pretrain",
        "sft",
        "reward",
        "dpo",
        "ppo",
        "evaluate",
        "compare",
        "lineage",
        "chat",
    ]:
        assert f" {name} " in done.stdout, name
    heavy = ("torch", "pyarrow", "numpy", "fsspec")
    script = f"import sys\nimport llmill.cli.app\nprint([m for m in {heavy} if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]", "what --help imports must stay light"


def test_user_errors_are_one_line_with_status_2(tmp_path: Path) -> None:
    for words, expected in (
        (("run", "nothing.yaml"), "configuration file 'nothing.yaml' does not exist"),
        (("lineage", str(tmp_path)), "is not an llmill artifact"),
        (("report", str(tmp_path)), "is not a run directory"),
        (("sft", "data=x"), "'model' is required"),
        (("sft", "model=m", "data=x", "learning_rte=1"), "unknown key 'learning_rte'; did you mean 'learning_rate'?"),
        (("sft", "model=m", "data=x"), "--out is missing"),
        (("sft", "a.yaml", "b.yaml"), "expected one configuration file, found 2"),
        (("corpus", "funnel", str(tmp_path)), "is not an llmill artifact"),
    ):
        done = _llmill(*words, cwd=tmp_path)
        assert done.returncode == 2, words
        assert done.stderr.startswith("error: ") and expected in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = _llmill("lineage", str(tmp_path), "--debug")
    assert done.returncode != 0 and "Traceback" in done.stderr


def test_misspelt_commands_are_suggested() -> None:
    done = _llmill("copus")
    assert done.returncode == 2 and "Did you mean 'corpus'?" in done.stderr


def test_component_help_shows_every_field_with_its_default() -> None:
    from millbase.config import describe
    from training.posttrain.sft import SftConfig

    shown = _llmill("sft", "--help").stdout
    for field in describe(SftConfig):
        assert f"  {field.name}  " in shown, field.name
    assert "learning_rate  float  = 1.0e-05" in shown or "learning_rate  float  = 1e-05" in shown
    assert "model  str  required" in shown
    assert "Peak learning rate of AdamW." in shown


def test_print_config_resolves_file_and_overrides(tmp_path: Path) -> None:
    import yaml

    (tmp_path / "sft.yaml").write_text("model: m\ndata: d.jsonl\nepochs: 2\n")
    done = _llmill("sft", "sft.yaml", "epochs=3", "lora.rank=4", "--print-config", cwd=tmp_path)
    values = yaml.safe_load(done.stdout)
    assert (values["epochs"], values["lora"]["rank"], values["model"]) == (3.0, 4, "m")
    assert _llmill("sft", "--config", "sft.yaml", "--print-config", cwd=tmp_path).returncode == 0


def test_lineage_and_compare_and_funnel_and_report_commands(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    shown = _llmill("lineage", f"{run.eval_base}#doc2", "--show").stdout
    assert "Page of doc2." in shown and "WARC" in shown
    assert "blocked domain 60" in _llmill("corpus", "funnel", str(run.corpus)).stdout
    stages: dict[str, dict[str, str]] = {name: {} for name in ("corpus", "eval_base", "report", "missing")}
    (run.root / "run.json").write_text(json.dumps({"name": "mine", "stages": stages, "status": "running"}))
    done = _llmill("report", str(run.root))
    assert done.returncode == 0 and Path(done.stdout.strip()) == run.report / "index.html"
    assert "base: exact match rises" in (run.report / "index.html").read_text()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes_are_valid(
    recipe: Path, real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every configuration validates, and no path leads into another run's directory."""
    from llmill.recipe.graph import load_graph
    from llmill.recipe.paths import strings

    monkeypatch.chdir(REPOSITORY)
    overrides = []
    if recipe.stem == "real":
        overrides = [
            f"inputs.crawl={real_data}/warc/*.warc.gz",
            f"inputs.prose={real_data}/text/classic_books_en.jsonl.gz",
            f"inputs.instructions={real_data}/posttrain/alpaca/alpaca_data_52k_reassembled.jsonl.gz",
            f"inputs.preferences={real_data}/posttrain/alpaca_eval/pairs_chosen_rejected.jsonl.gz",
            f"inputs.evals={real_data}/evals",
        ]
    graph = load_graph(recipe, overrides, out=tmp_path / "out")
    for stage in graph.stages.values():
        stray = [text for text in strings(stage.config.to_dict()) if text.startswith("runs/")]
        assert not stray, f"{stage.name}: {stray}"
    if recipe.stem in ("demo", "real"):
        assert {"corpus", "pretrain", "sft", "reward", "dpo", "ppo", "report"} <= set(graph.stages)
        report = graph.stages["report"]
        assert set(report.needs) == set(graph.stages) - {"report"}, "the report shows every stage"


def test_demo_benchmark_reads_a_run(tmp_path: Path) -> None:
    gates = [{"name": "g1", "stage": "s", "passed": True, "value": 0.5, "ci95": [0.4, 0.6], "requirement": ">= 0.3"}]
    gates.append({"name": "g2", "stage": "s", "passed": False, "value": 0.1, "ci95": [None, None]})
    record = {"status": "finished", "gates": gates, "peak_rss_bytes": 2**30, "stage_seconds": 600, "git": None}
    (tmp_path / "run.json").write_text(json.dumps(record))
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "demo.py"), "--quick", "--run"]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "figure": "demo gates passed",
        "value": 0.5,
        "goal": 1.0,
        "unit": "share",
    }
    assert "FAILED" in done.stdout and "[0.4, 0.6]" in done.stdout
    missing = subprocess.run([*command, str(tmp_path / "no")], capture_output=True, text=True)
    assert missing.returncode == 1 and "make demo" in missing.stderr
