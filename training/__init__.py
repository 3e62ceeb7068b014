"""Training: `training.pretrain` (Megatron-core), `training.posttrain` (TRL), and `training.load`, which opens both."""
