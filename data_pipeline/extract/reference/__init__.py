"""The extractor of `data_pipeline/native/src/html_*.cpp` in plain Python: the same results, some fifty times slower."""

from data_pipeline.extract.reference.model import PythonModel

__all__ = ["PythonModel"]
