"""PPO for chat models with a trainer of our own; see `docs/ppo.md`.

config -> run (artifact, processes) -> trainer (the loop) -> rollout (sampling, prompts, rewards, kl, advantages)
                                                          -> update (batches, loss, logprobs, sft_mix)
"""

from training.posttrain.ppo.config import PpoConfig
from training.posttrain.ppo.run import train_ppo

__all__ = ["PpoConfig", "train_ppo"]
