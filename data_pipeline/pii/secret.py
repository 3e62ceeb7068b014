"""Keys, tokens and private key blocks, known by their prefixes. Spans as in `network`.

The forms are those that the services document and that secret scanners look for (GitHub's secret scanning patterns,
gitleaks). Passwords and keys without a form of their own are not found.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator

Found = Iterator[tuple[int, int]]
_LONGEST_BLOCK = 20_000

_PREFIXED: tuple[tuple[tuple[str, ...], re.Pattern[str]], ...] = tuple(
    (prefixes, re.compile(rf"(?<![A-Za-z0-9_]){pattern}(?![A-Za-z0-9])"))
    for prefixes, pattern in (
        (("AKIA", "ASIA"), r"(?:AKIA|ASIA)[A-Z2-7]{16}"),  # Amazon access key ids
        (("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"gh[pousr]_[A-Za-z0-9]{36,251}"),  # GitHub
        (("github_pat_",), r"github_pat_[A-Za-z0-9_]{82}"),
        (("glpat-",), r"glpat-[A-Za-z0-9_-]{20,64}"),  # GitLab
        (("xox",), r"xox[abeoprs]-[A-Za-z0-9-]{10,250}"),  # Slack
        (("hooks.slack.com/services/",), r"hooks\.slack\.com/services/T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/[A-Za-z0-9]{20,}"),
        (("AIza",), r"AIza[A-Za-z0-9_-]{35}"),  # Google API keys
        (("ya29.",), r"ya29\.[A-Za-z0-9_-]{20,}"),  # Google OAuth tokens
        (("sk_live_", "rk_live_", "sk_test_"), r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,247}"),  # Stripe
        (("hf_",), r"hf_[A-Za-z]{34}"),  # Hugging Face
        (("npm_",), r"npm_[A-Za-z0-9]{36}"),
        (("pypi-AgEIcHlwaS5vcmc",), r"pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,}"),
        (("SG.",), r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),  # SendGrid
    )
)
_MODEL_KEY = re.compile(r"(?<![A-Za-z0-9_-])sk-(?:[a-z0-9]{2,10}-){0,2}[A-Za-z0-9_-]{20,200}")
_AWS_SECRET = re.compile(
    r"(?i:aws_?secret_?(?:access_?)?key)[\"']?\s{0,4}[:=]\s{0,4}[\"']?([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+])"
)
_JWT = re.compile(r"(?<![A-Za-z0-9_.-])(eyJ[A-Za-z0-9_-]{8,})\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,}")
_BLOCK = re.compile(
    rf"-----BEGIN ((?:[A-Z0-9]+ ){{0,4}}PRIVATE KEY(?: BLOCK)?)-----(?s:.{{1,{_LONGEST_BLOCK}}}?)-----END \1-----"
)


def keys(text: str) -> Found:
    """Secrets of every known form, in order of forms, not of place. Values that documentation uses as examples stay."""
    underscore = "_" in text
    for prefixes, pattern in _PREFIXED:
        if (underscore or "_" not in prefixes[0]) and any(prefix in text for prefix in prefixes):
            yield from _spans(pattern, text, _no_example)
    if "sk-" in text:
        yield from _spans(_MODEL_KEY, text, lambda match: _is_random(match[0][3:]))
    if "eyJ" in text:
        yield from _spans(_JWT, text, lambda match: _is_token_header(match[1]))
    if "PRIVATE KEY" in text:
        yield from _spans(_BLOCK, text, _no_example)
    if "ecret" in text or "ECRET" in text:
        yield from (match.span(1) for match in _AWS_SECRET.finditer(text) if _no_example(match))


def _spans(pattern: re.Pattern[str], text: str, accept: Callable[[re.Match[str]], bool]) -> Found:
    return (match.span() for match in pattern.finditer(text) if accept(match))


def _no_example(match: re.Match[str]) -> bool:
    value = match[0]
    return "EXAMPLE" not in value and len(set(value)) > 8  # `ghp_xxxxxxxx...` stands for a key


def _is_random(value: str) -> bool:
    """Digits and both cases, as drawn letters have and names (`sk-spinner-double-bounce`) have not."""
    kinds = (str.isdigit, str.isupper, str.islower)
    return all(any(map(kind, value)) for kind in kinds) and len(set(value)) > 12


def _is_token_header(header: str) -> bool:
    """Whether the first part of a JSON web token says how it is signed (RFC 7519)."""
    try:
        return "alg" in json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    except ValueError:
        return False
