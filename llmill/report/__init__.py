"""The report: one self-contained HTML page about a run (``llmill report RUN_DIR``, or the stage kind ``report``).

``collect`` reads the artifacts into plain values, ``plots`` draws the curves, ``build`` fills the template.
"""

from llmill.report.build import build_report, config_for_run
from llmill.report.config import ReportConfig

__all__ = ["ReportConfig", "build_report", "config_for_run"]
