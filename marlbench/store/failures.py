"""What the end of a job is called: exit codes, kinds of failure, one-line reasons."""

from __future__ import annotations

import sys

from marlbench.errors import MarlbenchError
from marlbench.store import durable
from marlbench.store.attempts import one_line
from marlbench.store.states import Failure
from marlbench.store.uris import cut

OK = 0
EXCEPTION = 10
MEMORY = 11
DISK_FULL = 12
LOCKED = 75


def classify(error: BaseException) -> tuple[int, Failure, str]:
    """Exit code, kind of failure and a one-line reason for whatever ended a job."""
    reason = one_line(cut(f"{type(error).__name__}: {error}".rstrip(": ")))
    if isinstance(error, MarlbenchError):
        reason = one_line(cut(f"{error} {error.hint}"))
    if isinstance(error, durable.Unwritable) or durable.is_full(error):
        return DISK_FULL, Failure.DISK_FULL, reason
    if is_out_of_memory(error):
        return MEMORY, Failure.MEMORY, reason
    return EXCEPTION, Failure.EXCEPTION, reason


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that main or device memory ran out."""
    if isinstance(error, MemoryError):
        return True
    # Without torch in the process, no error can be torch's.
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
