"""What a training run needs before it is started: memory of each rank, floating-point work, communication, time, cost.

    llmill plan configs/pretrain/demo.yaml --gpus 64 --gpu h100 --search

Pure arithmetic over the configuration; nothing here imports torch. In reading order: `hardware` (devices), `layout`
(who holds what), `flops`, `memory`, `communication`, `timing`, `search` (best layouts), `posttrain` (memory of SFT,
DPO, PPO, GRPO), `estimate` (all of it for one configuration), `fits` (the check before a run starts).
"""
