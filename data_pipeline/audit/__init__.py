"""What each filter does to pages whose worth is known: false drops by page type, precision and recall."""

from data_pipeline.audit.build import build_audit
from data_pipeline.audit.config import AuditConfig, LabelledPages
from data_pipeline.audit.judge import Verdict, audit_steps, judge_page
from data_pipeline.audit.pages import Page, good_pages, truth_pages
from data_pipeline.audit.rates import Rate, good_rates, truth_rates

__all__ = [
    "AuditConfig",
    "LabelledPages",
    "Page",
    "Rate",
    "Verdict",
    "audit_steps",
    "build_audit",
    "good_pages",
    "good_rates",
    "judge_page",
    "truth_pages",
    "truth_rates",
]
