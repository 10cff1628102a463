"""Self-contained HTML pages: what a page shows is JSON within its script."""

from __future__ import annotations

import json
from typing import Any

PLACE = "/*DATA*/null"  # in a page's script, where its data go


def filled(page: str, data: Any) -> str:
    """The page with its data, which cannot end the script whatever names they hold."""
    return page.replace(PLACE, json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"))
