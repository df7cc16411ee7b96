"""Messages for a missing module of an extra: what they advise works."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import odp_logging

ROOT = Path(__file__).parents[2]
PACKAGE = Path(odp_logging.__file__).parent
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def list_hints() -> list[tuple[str, str]]:
    """Return the extra and the requirement of each message about a missing module."""
    calls = [
        node
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "format_missing_extra"
    ]
    return [
        tuple(  # type: ignore[misc]
            ast.literal_eval(keyword.value)
            for keyword in sorted(call.keywords, key=lambda item: item.arg or "")
        )
        for call in calls
    ]


@pytest.mark.parametrize(("extra", "requirement"), list_hints())
def test_the_hint_is_what_the_extra_holds(extra: str, requirement: str) -> None:
    """The command installs the requirement that pyproject.toml has for the extra."""
    found = re.search(rf"^{extra} = \[(.*?)\]$", PYPROJECT, re.MULTILINE | re.DOTALL)

    assert found is not None
    assert f'"{requirement}"' in found[1]


def test_no_text_advises_an_extra_from_an_index() -> None:
    """``pip install 'odp-logging[...]'`` fails where no index has the package."""
    files = [*PACKAGE.rglob("*.py"), *ROOT.glob("*.md"), *ROOT.glob("examples/**/*.*")]
    texts = {path: path.read_text("utf-8") for path in files if path.suffix != ".pyc"}

    assert len(list_hints()) >= 6
    assert [path for path in files if "odp-logging[" in texts.get(path, "")] == []
