"""Where the ranks of a training run are started: this machine, several machines by hand, or a Slurm job.

`config` (every setting), `slurm` (batch script, submission, waiting), `job` (what the script runs). torchrun itself is
in `millbase.launch`.
"""
