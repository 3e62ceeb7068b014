"""Which corpus makes the better model: the same small model trained on each, over seeds, and one verdict.

`config` says what is compared, `recipe` turns it into a graph of ordinary stages, which `llmill run`'s runner carries
out (so it resumes, skips and logs like any recipe), and `show` prints the verdict that `evaluation.ablation` reached.
"""

from llmill.ablation.config import AblateConfig
from llmill.ablation.recipe import ablate

__all__ = ["AblateConfig", "ablate"]
