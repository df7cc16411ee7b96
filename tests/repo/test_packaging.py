"""The packages that are published, and the workflows that test and publish them."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from odp_logging import __version__

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned(path):
    """Each action is a commit with its version, since a tag can be moved."""
    uses = re.findall(r"uses: (.*)", path.read_text(encoding="utf-8"))

    assert uses
    for action in uses:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v[\d.]+", action)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_have_the_least_permissions(path):
    """Reading the repository, and a token for PyPI in the job that publishes alone."""
    yaml = pytest.importorskip("yaml")
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    jobs = workflow["jobs"]

    assert workflow["permissions"] in ({}, {"contents": "read"})
    for name, job in jobs.items():
        allowed = job.get("permissions", workflow["permissions"])
        expected = {"id-token": "write"} if name == "publish" else {"contents": "read"}
        assert allowed == expected
        assert job["timeout-minutes"] <= 90


def test_the_matrix_has_every_supported_python():
    """The workflow tests the CPythons that the classifiers name and that are out."""
    yaml = pytest.importorskip("yaml")
    workflow = yaml.safe_load(WORKFLOWS[0].read_text(encoding="utf-8"))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    named = re.findall(r'Python :: (3\.\d+)"', project)

    assert workflow["jobs"]["tests"]["strategy"]["matrix"]["python"] == named[:-1]
    assert named[-1] == "3.15"


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_the_packages_are_complete(tmp_path):
    """The sdist has tests, examples and their settings; the wheel only the package."""
    pytest.importorskip("build")
    subprocess.run(
        [sys.executable, "-m", "build", "-q", "--outdir", tmp_path, ROOT],
        check=True,
        capture_output=True,
        timeout=300,
    )
    (sdist,) = tmp_path.glob("*.tar.gz")
    (wheel,) = tmp_path.glob("*.whl")
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    with zipfile.ZipFile(wheel) as archive:
        installed = archive.namelist()
        metadata = archive.read(f"odp_logging-{__version__}.dist-info/METADATA")

    tracked = subprocess.run(
        ["git", "ls-files", "odp_logging", "tests", "examples", "*.md", "setup.cfg"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    ).stdout.splitlines()
    assert set(tracked) <= packed
    assert {name.split("/")[0] for name in installed} == {
        "odp_logging",
        f"odp_logging-{__version__}.dist-info",
    }
    assert b"Provides-Extra: test" not in metadata
