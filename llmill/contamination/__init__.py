"""How much of an evaluation its training corpus holds: joins scores with the pipeline's index of shared words.

`llmill contamination scores=RUN/scores corpus=RUN/corpus --out RUN/contamination`
"""

from llmill.contamination.config import ContaminationConfig
from llmill.contamination.measure import measure

__all__ = ["ContaminationConfig", "measure"]
