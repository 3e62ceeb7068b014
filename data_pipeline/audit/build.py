"""`llmill corpus audit`: judge every labelled page, write the rates as JSON and as tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_pipeline.audit.config import AuditConfig
from data_pipeline.audit.judge import audit_steps, judge_page
from data_pipeline.audit.pages import good_pages, truth_pages
from data_pipeline.audit.rates import good_rates, rates_to_json, truth_rates
from data_pipeline.audit.tables import good_table, truth_table
from millbase.artifacts import create_artifact
from millbase.atomic import atomic_write, write_json
from millbase.files import glob_files
from millbase.progress import progress

KIND = "audit"


def build_audit(config: AuditConfig, out: str | Path) -> Path:
    """Write the `audit` artifact `out`, audit.json and audit.txt, and print the tables.

    Raises InputError when labelled pages are missing or damaged, ConfigError when `corpus` is no corpus configuration.
    """
    inputs: dict[str, Any] = {}
    if config.good:
        inputs["good"] = [file for source in config.good for file in glob_files(source.path, what="labelled pages")]
    if config.truth is not None:
        inputs["truth"] = config.truth
    with create_artifact(out, kind=KIND, config=config, inputs=inputs) as artifact:
        steps = audit_steps(config)
        good, truth = good_pages(config), truth_pages(config)
        with progress("judging pages", total=len(good) + len(truth), unit="pages") as bar:
            verdicts = []
            for page in [*good, *truth]:
                verdicts.append(judge_page(page, steps))
                bar.advance()
        result: dict[str, Any] = {"good": [], "truth": []}
        tables = []
        if good:
            rates = good_rates(verdicts[: len(good)])
            result["good"] = rates_to_json(rates)
            tables.append(good_table(rates))
        if truth:
            result["truth"] = truth_rates(verdicts[len(good) :])
            tables.append(truth_table(result["truth"]))
        write_json(artifact.path / "audit.json", result)
        with atomic_write(artifact.path / "audit.txt", "w") as file:
            file.write("\n\n".join(tables) + "\n")
        artifact.stats.update({"good_pages": len(good), "truth_pages": len(truth)})
    print("\n\n".join(tables))
    return Path(out)
