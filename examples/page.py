"""What the worked examples share: the tables of their pages, which they write themselves."""

from __future__ import annotations

import io
import platform
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose first row is its head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    return "\n".join(lines)


def write_block(page: Path, name: str, rows: Sequence[Sequence[str]], below: str = "") -> None:
    """Replaces what stands in `page` between the comments `<!-- name -->` and `<!-- end -->`."""
    text = page.read_text(encoding="utf-8")
    block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    if len(block.findall(text)) != 1:
        raise SystemExit(f"{page}: expected one block <!-- {name} --> ... <!-- end -->")
    body = f"\n{table(rows)}\n\n" + (f"{below}\n\n" if below else "")
    page.write_text(block.sub(lambda found: found[1] + body + found[2], text), encoding="utf-8")


def machine() -> str:
    """Where times were measured."""
    names = (
        re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) if Path("/proc/cpuinfo").exists() else []
    )
    return f"Times: one thread of {names[0] if names else platform.processor() or platform.machine()}."


def microseconds(call: Callable[[], object], runs: int) -> float:
    """The median time of a call, after one that is not counted."""
    call()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return sorted(times)[runs // 2] * 1e6


def save(figure: Any, path: Path) -> None:
    """Writes a matplotlib figure as a PNG of 200 colours, half of what it takes with all of them."""
    from PIL import Image  # what matplotlib itself writes with

    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=70)
    path.parent.mkdir(exist_ok=True)
    Image.open(drawn).convert("RGB").quantize(200).save(path, optimize=True)
