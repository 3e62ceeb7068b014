"""Training: `training.pretrain` (Megatron-core) and `training.posttrain` (TRL); `training.load` opens what they write."""
