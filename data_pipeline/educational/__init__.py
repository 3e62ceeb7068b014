"""Educational value by a small transformer, as in FineWeb-Edu (Penedo et al. 2024, section 4).

Training lies in `train`, which the workers of a build need not import.
"""

from data_pipeline.educational.config import EducationalConfig
from data_pipeline.educational.step import EducationalFilter

__all__ = ["EducationalConfig", "EducationalFilter"]
