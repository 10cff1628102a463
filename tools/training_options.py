"""Writes the tables of docs/training.md: every option of every task, out of their declarations.

python tools/training_options.py. tests/test_training_forecast.py fails when the page is stale.
"""

from __future__ import annotations

import re
from pathlib import Path

from lstm_edge.training.options import Declared
from lstm_edge.training.registry import sections

PAGE = Path(__file__).resolve().parent.parent / "docs" / "training.md"
BETWEEN = re.compile(r"(?<=<!-- options -->\n).*(?=<!-- end of options -->)", re.DOTALL)


def tables() -> str:
    return "\n".join(
        f"### {title}\n\n| option | default | |\n|---|---|---|\n{rows(section)}" for title, section in sections()
    )


def rows(section: list[Declared]) -> str:
    return "".join(f"| `{d.flag}` | {_default(d)} | {_about(d)} |\n" for d in section)


def _default(declared: Declared) -> str:
    return f"`{declared.said_default}`" if declared.said_default else ""


def _about(declared: Declared) -> str:
    words = f" ({', '.join(declared.choices)})" if declared.choices else ""
    return (declared.help.removesuffix(".") + words + ".").replace("|", "\\|")


def page() -> str:
    """The page with its tables made anew."""
    return BETWEEN.sub(lambda _: "\n" + tables() + "\n", PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
