"""Configuration of how a run is saved, guarded and watched."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from millbase.config import Config


class CheckpointConfig(Config):
    """When the training state is saved, and where to continue from."""

    every_steps: int = Field(default=200, gt=0)
    """Steps between two checkpoints; the last step is saved in any case."""
    keep: int = Field(default=2, gt=0)
    """Newest checkpoints kept while the run goes on."""
    keep_every: int | None = Field(default=None, gt=0)
    """Also keep every checkpoint whose step is a multiple of this, until the run is finished."""
    asynchronous: bool = False
    """Write checkpoints in a process beside the training; it waits only while the state is copied. A kill during the
    writing loses no more than that checkpoint."""
    weights_from: str | None = None
    """Start from the weights of this Hugging Face folder or checkpoint, with a fresh optimizer at step 0."""
    resume_from: str | None = None
    """Continue from this finished pretraining artifact, or from the work directory of an unfinished one, with its
    optimizer state and place in the data. Steps, schedule, optimizer, layout, sequence length and what comes later in
    the mixture may differ from that run's; model, past data and seed may not. An interrupted run needs no setting:
    start it again."""


class GuardConfig(Config):
    """What happens when the loss or the gradient goes wrong, or a rank stands still."""

    not_finite: Literal["stop", "skip", "rewind"] = "stop"
    """A NaN or infinite loss or gradient norm: `stop` the run, `skip` the step (its gradients are dropped), or
    `rewind` to a checkpoint before it and pass over the steps around it. Each names the documents of the step."""
    spike: Literal["off", "stop", "skip", "rewind"] = "off"
    """The same for a loss far above the recent ones."""
    spike_threshold: float = Field(default=6.0, gt=0)
    """A loss is a spike when (loss - median) / (1.4826 * MAD) of the window is over this (the robust z-score of
    Iglewicz and Hoaglin 1993; MAD: median absolute deviation)."""
    spike_minimum: float = Field(default=0.1, ge=0)
    """And when it is more than this many nats over the median: a smooth curve has a small deviation."""
    window: int = Field(default=64, ge=8)
    """Accepted steps whose losses the spike is compared with; none is called a spike before half of them are there."""
    rewind_steps: int = Field(default=0, ge=0)
    """`rewind` also passes over this many steps before the bad one: what blew up may have been learned there (PaLM,
    Chowdhery et al. 2022, section 5.1, passed over 200 to 500 batches from 100 steps before)."""
    limit: int = Field(default=10, gt=0)
    """Skips and rewinds after which the run stops all the same."""
    hang_minutes: float = Field(default=30.0, gt=0)
    """A rank that does not finish a step, an evaluation or a save for so long is named, and the run is stopped."""
