"""What the system counts of a thread, where it does: Windows tells neither, macOS of the whole process alone."""

from __future__ import annotations

import sys

if sys.platform == "win32":

    def thread_events() -> tuple[int, int]:
        """Switches to other threads and minor page faults so far."""
        return 0, 0

else:
    import resource

    _WHO = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)

    def thread_events() -> tuple[int, int]:
        """Switches to other threads and minor page faults so far."""
        used = resource.getrusage(_WHO)
        return used.ru_nivcsw + used.ru_nvcsw, used.ru_minflt
