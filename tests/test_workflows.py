"""What GitHub runs, which cannot be run here: YAML that parses, names of files, tools and targets that exist, no secrets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from shared import ROOT

from lstm_edge.files import toml

yaml = pytest.importorskip("yaml", reason="a package of the frameworks group brings PyYAML")

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
CIBUILDWHEEL = toml.loads((ROOT / "pyproject.toml").read_text())["tool"]["cibuildwheel"]
# What an `uses` of others is: an owner's action at a version, never at a branch that moves under us.
ACTION = re.compile(r"[\w.-]+/[\w./-]+@(v\d+(\.\d+)*|release/v\d+)")


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job.get("steps", [])]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow(path: Path) -> None:
    text = path.read_text()
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    assert "secrets" not in text and "token:" not in text.replace("id-token:", "")
    assert True in workflow  # YAML reads the key `on` as a truth
    for job in workflow["jobs"].values():
        wanted = job.get("needs", [])
        assert set([wanted] if isinstance(wanted, str) else wanted) <= set(workflow["jobs"])
        if local := job.get("uses"):
            assert (ROOT / local).is_file() and "workflow_call" in yaml.safe_load((ROOT / local).read_text())[True]
    for step in steps(workflow):
        assert ("uses" in step) != ("run" in step)
        assert ACTION.fullmatch(step.get("uses", "a/b@v1"))
        for target in re.findall(r"\bmake (?:-\S+ )*([\w-]+)", step.get("run", "")):
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M), target


def test_the_tag_is_compared_with_a_line_of_pyproject() -> None:
    assert re.search(r'^version = "\d+\.\d+\.\d+"$', (ROOT / "pyproject.toml").read_text(), re.M)


def test_every_platform_of_the_settings_has_a_machine() -> None:
    """And each machine builds what the settings name."""
    jobs = yaml.safe_load((ROOT / ".github/workflows/wheels.yml").read_text())["jobs"]
    built = {(row["os"].partition("-")[0], row["archs"]) for row in jobs["wheels"]["strategy"]["matrix"]["include"]}
    systems = {"linux": "ubuntu", "macos": "macos", "windows": "windows"}
    assert built == {(system, arch) for name, system in systems.items() for arch in CIBUILDWHEEL[name]["archs"]}


def test_the_command_of_each_wheel_exists() -> None:
    script, what = re.fullmatch(r"python \{project\}/(\S+) (\w+)", CIBUILDWHEEL["test-command"]).groups()
    assert f'"{what}": {what}' in (ROOT / script).read_text()
    extras = toml.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(CIBUILDWHEEL["test-extras"]) <= set(extras)
