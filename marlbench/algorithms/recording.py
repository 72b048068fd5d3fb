"""Whether torch is recording operations as a program, which then stands for all inputs."""

from __future__ import annotations

import torch


def recording() -> bool:
    """True while torch traces, exports or compiles: no way may then be taken that not all inputs could take, and
    nothing may be computed outside torch."""
    return bool(torch.jit.is_tracing() or torch.compiler.is_compiling())
