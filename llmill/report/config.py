"""Configuration of the report."""

from __future__ import annotations

from pydantic import Field

from millbase.config import Config


class ReportConfig(Config):
    """What the report shows."""

    artifacts: dict[str, str]
    """Artifact directories by the name to show them under, in reading order; a stage of a recipe is ``${stage}``."""
    run: str | None = None
    """Run directory whose ``run.json`` tells memory and status (``${run}`` in a recipe); null: manifests only."""
    title: str | None = None
    """Headline; null: the name of the run."""
    max_samples: int = Field(default=8, ge=0)
    """Prompts shown with every stage's answer."""
    max_examples: int = Field(default=5, ge=0)
    """Wrongly dropped pages shown per pipeline step."""
