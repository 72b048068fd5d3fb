"""One row as a worker plays it: its slices of the shared arrays, its seed, its steps, the actions of its episode.

This module runs inside worker processes: it imports numpy, never torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlbench.adapters.arrays import Arrays
from marlbench.adapters.copies import Copies
from marlbench.adapters.games import Rules
from marlbench.adapters.spaces import Description
from marlbench.errors import ConfigurationError


class Row(ABC):
    """What all rows have in common.

    Attributes:
        seed: of the present episode.
        steps: taken in the present episode.
    """

    def __init__(self, rules: Rules, description: Description) -> None:
        self.rules, self.description = rules, description
        self.seed = 0
        self.steps = 0
        self._actions: list[bytes] = []

    def attach(self, arrays: Arrays, whole: Arrays, row: int) -> None:
        """Give the row its slices of the arrays, and the arrays of all rows."""
        self._arrays, self._whole, self._row = arrays, whole, row
        description = self.description
        if description.types_are_told:
            for agent, kind in enumerate(description.types):
                for name in ("observation", "final_observation"):
                    arrays[name][agent, description.longest + kind] = 1

    def given_seed(self, name: str) -> int:
        return int(self._whole[name][self._row])

    @abstractmethod
    def begin(self, seed: int) -> None:
        """Reset, and show the first observations."""

    @abstractmethod
    def step(self) -> None:
        """Take `action`, show what came of it; where the episode is over, begin the next."""

    def render(self) -> NDArray[np.uint8]:
        """A picture: uint8 [height, width, 3]. Not asked for where the environment draws what rows `tell`.

        Raises:
            ConfigurationError: the row cannot be drawn.
        """
        raise ConfigurationError(f"{type(self).__name__} cannot be drawn.", hint="It has no `render`.")

    def tell(self, what: str) -> Any:
        """Something that the environment asks for by name, such as what a picture is drawn from.

        Raises:
            LookupError: the row has nothing of this name; by default it has nothing at all.
        """
        raise LookupError(f"{type(self).__name__} has nothing called '{what}' to tell")

    @abstractmethod
    def close(self) -> None:
        """Free what the row holds."""

    def _began(self, seed: int) -> None:
        self.seed, self.steps = seed, 0
        self._actions.clear()

    def _stepped(self) -> None:
        if self.rules.keeps_actions:
            self._actions.append(self._arrays["action"].tobytes())
        self.steps += 1

    def _finish(self) -> None:
        """Keep the last observations and begin the next episode."""
        arrays = self._arrays
        arrays["final_observation"][:] = arrays["observation"]
        arrays["final_available_actions"][:] = arrays["available_actions"]
        if self.description.state_size:
            arrays["final_state"][:] = arrays["state"]
        if self.description.entities is not None:
            arrays["final_identity"][:] = arrays["identity"]
        self.begin(self.given_seed("upcoming"))

    def history(self) -> NDArray[Any]:
        """The actions of the present episode: [step, agent] or [step, agent, dim]."""
        action = self._arrays["action"]
        return np.frombuffer(b"".join(self._actions), dtype=action.dtype).reshape(-1, *action.shape)

    def replay(self, actions: NDArray[Any]) -> None:
        """Begin the episode of `seed` and play these actions."""
        self.begin(self.given_seed("seed"))
        self._repeat(actions)

    def _repeat(self, actions: NDArray[Any]) -> None:
        for action in actions:
            self._arrays["action"][:] = action
            self.step()
            if self._whole["ended"][self._row]:
                raise RuntimeError("the episode ended before the step it had reached when it was saved")


class WritingRow(Row):
    """A row that writes into its arrays by itself, instead of playing a ParallelEnv. `Rules.row` names its class.

    Subclasses are built from the rules alone. They fill in `start`, `advance` and `measure`, which read `action` and
    write `observation` (without the one-hot of the type, which stands there), `available_actions`, `acting`, `reward`,
    `terminated`, `truncated`, and `state`, `new_occupant` and `identity` where the description has them.

    Where `Rules.fresh` asks for it, each episode is played in a copy of the process as it was after the row was built;
    `carried` is all that a row keeps from one episode to the next.
    """

    _copies: Copies | None = None

    def __init__(self, rules: Rules, description: Description) -> None:
        super().__init__(rules, description)
        if rules.fresh and self._copies is None:
            self._copies = Copies()

    @abstractmethod
    def start(self, seed: int) -> None:
        """Begin the episode of a seed and write what it shows first."""

    @abstractmethod
    def advance(self) -> bool:
        """Take `action` and write what came of it.

        Returns:
            whether the episode is over; then all agents are terminated or truncated.
        """

    @abstractmethod
    def measure(self) -> list[float]:
        """The metrics of the episode that is over, in the order of the description."""

    def carried(self) -> Any:
        """What outlives an episode and can be pickled; `carry` takes it back."""
        return None

    def carry(self, kept: Any) -> None:
        """Take back what the row kept when its last episode ended."""
        return

    def begin(self, seed: int) -> None:
        self._play(seed, self.history()[:0])

    def replay(self, actions: NDArray[Any]) -> None:
        self._play(self.given_seed("seed"), actions)

    def _play(self, seed: int, actions: NDArray[Any]) -> None:
        """Begin an episode and take actions in it. Nothing may follow a call: see `Copies.next`."""
        if self._copies is not None:
            seed, actions, kept = self._copies.next((seed, actions, self.carried()))
            self.carry(kept)
        self._began(seed)
        self.start(seed)
        self._repeat(actions)

    def step(self) -> None:
        self._stepped()
        over = self.advance()
        self._whole["ended"][self._row] = over
        if over:
            if self.description.metrics:
                self._arrays["metrics"][:] = self.measure()
            self._finish()
