"""Verifiable rewards: what a program can check is a reward for training (Lambert et al. 2024, section 6, "RLVR").

    reward:                                               reward:
      verifiable:                                           functions: [training.posttrain.verifiable:maths]
        - {check: maths, weight: 1.0}

config (one class per check) -> source (by name, as a source or a function) -> answers, programs, texts (the checks).
The checks themselves are those of evaluation (`millbase.verify`), so both mean the same by "correct".
"""

from training.posttrain.verifiable.config import (
    CodeReward,
    ContainsReward,
    InstructionsReward,
    MathsReward,
    NumericReward,
)
from training.posttrain.verifiable.config import VerifiableReward as VerifiableReward
from training.posttrain.verifiable.source import SCORERS, VerifiableSource, load_verifiable, reward_function

numeric = reward_function(NumericReward(check="numeric"))
maths = reward_function(MathsReward(check="maths"))
code = reward_function(CodeReward(check="code"))
contains = reward_function(ContainsReward(check="contains"))
instructions = reward_function(InstructionsReward(check="instructions"))

__all__ = [
    "SCORERS",
    "VerifiableReward",
    "VerifiableSource",
    "code",
    "contains",
    "instructions",
    "load_verifiable",
    "maths",
    "numeric",
    "reward_function",
]
