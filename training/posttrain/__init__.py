"""Post-training with TRL: supervised fine-tuning, reward model, DPO; PPO has its own trainer in `ppo/`."""
