"""Commands as a user would type them, for messages that say what to do next."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path


def again(verb: str, root: Path, *arguments: str) -> str:
    """A command on the same store."""
    from marlbench.store.store import Store

    options = [] if Store.locate(None) == root else ["--results", str(root)]
    return command_line(verb, *arguments, *options)


def invocation() -> str:
    """This command line."""
    return command_line(*sys.argv[1:])


def command_line(*words: str) -> str:
    """A command of this program."""
    return shlex.join([*_program(), *words])


def _program() -> Sequence[str]:
    """How this program was started: by its name where the shell finds it by that, else in full."""
    path = Path(sys.argv[0])
    if path.name == "__main__.py":
        python = Path(sys.executable)
        found = shutil.which(python.name)
        # Not resolved: the interpreters of all virtual environments are links to one file.
        short = found is not None and Path(found).absolute() == python.absolute()
        return [python.name if short else str(python), "-m", "marlbench"]
    found = shutil.which(path.name)
    if found is not None and os.path.exists(path) and os.path.samefile(found, path):
        return [path.name]
    return [str(path)]
