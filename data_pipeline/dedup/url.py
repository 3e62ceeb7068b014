"""Addresses that lead to the same page, brought to one form.

Ignored are: the scheme (http, https), `www.`, the case of the host, a trailing dot of the host, the default port, user
and password, the fragment, the order of parameters, parameters that only track where a visitor came from, an empty
query, repeated and trailing slashes of the path, and how characters are escaped (RFC 3986, section 6.2.2).
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote_to_bytes

import xxhash

_PARTS = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//(?P<host>[^/?#]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?", re.I)
_TRACKING = re.compile(
    r"utm_\w+|ga_\w+|hsa_\w+|pk_\w+|mtm_\w+|matomo_\w+|fb_\w+|fbclid|gclid|gclsrc|dclid|gbraid|wbraid|msclkid|yclid|"
    r"twclid|ttclid|igshid|igsh|mc_cid|mc_eid|_hsenc|_hsmi|mkt_tok|_ga|_gl|vero_id|oly_anon_id|oly_enc_id|s_cid|"
    r"wickedid|ref_src|ref_url|phpsessid|jsessionid|aspsessionid\w*",
    re.I,
)
_SESSION_IN_PATH = re.compile(r";jsessionid=[^/?#]*", re.I)
_SAFE = "-._~!$'()*,;:@+"  # what may stand unescaped in a path or a parameter


def normalise_url(url: str) -> str:
    """The form that stands for all addresses of one page; a string without `//` is only stripped."""
    match = _PARTS.match(url.strip())
    if match is None:
        return url.strip()
    host = match["host"].rpartition("@")[2].lower()
    host, _, port = re.sub(r":(?=\d*$)", "\0", host).partition("\0")  # not a colon inside an IPv6 address
    host = host.rstrip(".").removeprefix("www.")
    if port and port not in ("80", "443"):
        host = f"{host}:{port}"
    path = re.sub(r"/{2,}", "/", _SESSION_IN_PATH.sub("", match["path"])).rstrip("/")
    path = "/".join(_escaped(part) for part in path.split("/"))
    parameters = [part for part in re.split("[&;]", match["query"] or "") if part]
    parameters = [part for part in parameters if not _TRACKING.fullmatch(part.partition("=")[0])]
    query = "&".join(sorted("=".join(map(_escaped, part.split("=", 1))) for part in parameters))
    return f"{host}{path}?{query}" if query else f"{host}{path}"


def url_hash(url: str) -> bytes:
    """16-byte hash of the normalised address."""
    return xxhash.xxh3_128_digest(normalise_url(url).encode("utf-8", "surrogatepass"))


def _escaped(part: str) -> str:
    """Escapes of characters that need none are resolved, and all others written in one way."""
    return quote(unquote_to_bytes(part.encode("utf-8", "surrogatepass")), safe=_SAFE)
