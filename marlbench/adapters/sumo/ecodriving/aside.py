"""A copy of a process that was made earlier and answers one question later, as the process was then."""

from __future__ import annotations

import ctypes
import os
import signal
import traceback
from collections.abc import Callable
from multiprocessing import Pipe
from typing import Any

from marlbench.errors import MarlbenchError

_PR_SET_PDEATHSIG = 1


class Aside:
    """Made where nothing was simulated yet: SUMO's simulations are only alike in processes that simulated nothing else.

    Args:
        answer: what the copy does with the question.
    """

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        here, there = Pipe()
        maker = os.getpid()
        self._copy = os.fork()
        if not self._copy:
            # Nobody else would end it where its maker was killed, or went on to the next episode.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            here.close()
            try:
                if os.getppid() == maker:
                    there.send(answer(there.recv()))
            except EOFError:
                # Nobody asks any more.
                pass
            except Exception:
                traceback.print_exc()
            finally:
                os._exit(0)
        there.close()
        self._pipe = here

    def ask(self, question: Any) -> Any:
        """The answer; can be asked once.

        Raises MarlbenchError where the copy failed.
        """
        try:
            self._pipe.send(question)
            return self._pipe.recv()
        except (EOFError, OSError) as error:
            raise MarlbenchError(
                "SUMO ended while it drove the plain traffic that is compared with.",
                hint="The log says more.",
            ) from error
        finally:
            self.close()

    def close(self) -> None:
        """End it."""
        if self._copy:
            self._pipe.close()
            os.kill(self._copy, signal.SIGKILL)
            os.waitpid(self._copy, 0)
            self._copy = 0
