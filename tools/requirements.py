"""Prints the requirements of pyproject.toml: to build from a checkout, to run, and those of the extras named (comma-separated)."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def main(extras: str) -> None:
    with open(Path(__file__).parents[1] / "pyproject.toml", "rb") as file:
        pyproject = tomllib.load(file)
    project = pyproject["project"]
    wanted = [
        *pyproject["build-system"]["requires"],
        *pyproject["tool"]["lstm_edge"]["build-from-checkout"],
        *project["dependencies"],
    ]
    for extra in filter(None, extras.split(",")):
        wanted += project["optional-dependencies"][extra]
    print(" ".join(dict.fromkeys(wanted)))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
