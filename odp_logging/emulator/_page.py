"""The page: its files put together as one document, under a policy of its own."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources
import re

_STYLE = re.compile(r'<link rel="stylesheet" href="([a-z]+\.css)">')
_SCRIPT = re.compile(r'<script src="([a-z]+\.js)"></script>')


@functools.cache
def page() -> tuple[bytes, str]:
    """The document, and the policy under which nothing but its own script can run."""
    text = _STYLE.sub(lambda m: f"<style>{_read(m[1])}</style>", _read("page.html"))
    text = _SCRIPT.sub(lambda m: f"<script>{_read(m[1])}</script>", text)
    return text.encode(), _policy(text)


def _read(name: str) -> str:
    folder = importlib.resources.files(__package__).joinpath("page")
    return folder.joinpath(name).read_text("utf-8")


def _policy(text: str) -> str:
    return (
        f"default-src 'none'; script-src {_hashes(text, 'script')}; "
        f"style-src {_hashes(text, 'style')}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'; "
        "trusted-types 'none'"
    )


def _hashes(text: str, tag: str) -> str:
    found = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.S)
    digests = (hashlib.sha256(part.encode()).digest() for part in found)
    return " ".join(f"'sha256-{base64.b64encode(d).decode()}'" for d in digests)
