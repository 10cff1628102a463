"""The program lstm-edge, also python -m lstm_edge: the command line, where the extra `cli` is installed."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # typing takes longer to import than the help to print
if TYPE_CHECKING:
    from collections.abc import Callable

MODULES = ("click", "rich")  # of the extra


def _found(name: str) -> bool:
    """Whether a module is there, without importing it, or importlib.util."""
    if name in sys.modules:
        return sys.modules[name] is not None
    return any(finder.find_spec(name, None) for finder in sys.meta_path)


for missing in MODULES:
    if not _found(missing):
        raise SystemExit(
            f"error: the command line: expected the module {missing!r}, found none; pip install 'lstm-edge[cli]'"
        )

main: Callable[[], object]
if sys.argv[1:] in (["--help"], ["-h"]):
    from .overview import show as main
else:
    from .cli import main

if __name__ == "__main__":
    main()
