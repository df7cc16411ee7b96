"""The page: one document built from its files, with a Content-Security-Policy."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources
import re

_STYLE = re.compile(r'<link rel="stylesheet" href="([a-z]+\.css)">')
_SCRIPT = re.compile(r'<script src="([a-z]+\.js)"></script>')


@functools.cache
def build_page() -> tuple[bytes, str]:
    """Return the document, and a policy that allows only its own script."""
    text = _STYLE.sub(
        lambda m: f"<style>{_read_file(m[1])}</style>", _read_file("page.html")
    )
    text = _SCRIPT.sub(lambda m: f"<script>{_read_file(m[1])}</script>", text)
    return text.encode(), _build_policy(text)


def _read_file(name: str) -> str:
    page_dir = importlib.resources.files(__package__).joinpath("page")
    return page_dir.joinpath(name).read_text("utf-8")


def _build_policy(text: str) -> str:
    return (
        # The script is known by its hash, so that no text of an event can run as one.
        f"default-src 'none'; script-src {_hash_elements(text, 'script')}; "
        f"style-src {_hash_elements(text, 'style')}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'; "
        "trusted-types 'none'"
    )


def _hash_elements(text: str, tag: str) -> str:
    found = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.S)
    digests = (hashlib.sha256(part.encode()).digest() for part in found)
    return " ".join(f"'sha256-{base64.b64encode(d).decode()}'" for d in digests)
