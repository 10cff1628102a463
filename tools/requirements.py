"""Prints the requirements of pyproject.toml: to build, to run, and those of the extras and dependency groups named
(comma-separated). A group may ask for extras of the project itself."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

try:
    import tomllib
except ModuleNotFoundError:  # before Python 3.11
    from pip._vendor import tomli as tomllib

OWN = re.compile(r"lstm-edge\[([\w,-]+)\]")


def main(names: str) -> None:
    with open(Path(__file__).parents[1] / "pyproject.toml", "rb") as file:
        pyproject = tomllib.load(file)
    project = pyproject["project"]
    named = {**project["optional-dependencies"], **pyproject["dependency-groups"]}
    wanted = [*pyproject["build-system"]["requires"], *project["dependencies"], *requirements(named, names)]
    print(" ".join(dict.fromkeys(wanted)))


def requirements(named: dict[str, Any], names: str) -> Iterator[str]:
    for name in filter(None, names.split(",")):
        for requirement in named[name]:
            own = OWN.fullmatch(requirement)
            yield from requirements(named, own[1]) if own else (requirement,)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
