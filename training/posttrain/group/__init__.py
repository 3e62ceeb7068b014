"""Group methods for chat models: GRPO, Dr. GRPO, DAPO, GSPO, RLOO, Tree-GRPO; see `docs/group.md`.

config, options -> run (artifact, processes) -> trainer (the loop) -> rollout (writers, objectives: advantages)
                                                                   -> update (objectives: the loss)

Sampling, scoring, log-probabilities, minibatches, adapters and records are PPO's.
"""

from training.posttrain.group.config import GroupConfig
from training.posttrain.group.run import train_group

__all__ = ["GroupConfig", "train_group"]
