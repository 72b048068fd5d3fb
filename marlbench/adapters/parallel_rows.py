"""Rows of another library's environment, played one after the other into shared arrays.

This module runs inside worker processes: it imports numpy, and PettingZoo with the package that is played,
but never torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlbench.adapters import codecs
from marlbench.adapters.arrays import Arrays, Field, Layout
from marlbench.adapters.games import Rules, build
from marlbench.adapters.parallel_cycle import shortcut
from marlbench.adapters.row import Row, WritingRow
from marlbench.adapters.spaces import Description, describe, seen_space
from marlbench.adapters.turns import Turns
from marlbench.errors import ConfigurationError


class RowFailure(Exception):
    """What the package raised while it played a row."""

    def __init__(self, row: int, seed: int, steps: int, cause: str) -> None:
        super().__init__(row, seed, steps, cause)
        self.row, self.seed, self.steps, self.cause = row, seed, steps, cause


def layout(description: Description, rows: int) -> Layout:
    """The arrays that rows read from and write to, for all rows of the environment."""
    agents = len(description.agents)
    seen: Field = ((rows, agents, description.features), np.float32)
    state: Field = ((rows, description.state_size), np.float32)
    available: Field = ((rows, agents, description.actions), np.bool_)
    flag: Field = ((rows, agents), np.bool_)
    action: Field = ((rows, agents), np.int64)
    if description.actions_range is not None:
        action = ((rows, agents, description.actions_range.size), np.float32)
    fields: Layout = {
        "action": action,
        "seed": ((rows,), np.int64),
        "upcoming": ((rows,), np.int64),
        "observation": seen,
        "final_observation": seen,
        "available_actions": available,
        "final_available_actions": available,
        "acting": flag,
        "reward": ((rows, agents), np.float32),
        "terminated": flag,
        "truncated": flag,
        "ended": ((rows,), np.bool_),
        # Which row a process plays, at the place of its first row: read where the process does not answer.
        "playing": ((rows,), np.int64),
    }
    if description.state_size:
        fields.update(state=state, final_state=state)
    if description.metrics:
        fields["metrics"] = ((rows, len(description.metrics)), np.float32)
    if description.occupants:
        fields["new_occupant"] = flag
    if description.drops:
        fields["dropped"] = ((rows,), np.bool_)
    if description.entities is not None:
        whom: Field = ((rows, agents, description.entities[0]), np.int64)
        fields.update(identity=whom, final_identity=whom)
    if description.kept:
        fields["kept"] = ((rows, description.kept), np.float64)
    return fields


class ParallelRows:
    """Some rows of the environment: each has an environment object of its own.

    Raises ConfigurationError where the package cannot be used; RowFailure where it raises while it plays.
    """

    def __init__(self, rules: Rules, rows: range) -> None:
        self.rows = rows
        built = [build(rules) for _ in rows]
        first = built[0]
        self.description = first.description if isinstance(first, WritingRow) else describe(first, rules)
        self._players: list[Row] = [
            made if isinstance(made, WritingRow) else _Row(made, rules, self.description) for made in built
        ]

    def attach(self, arrays: Arrays) -> None:
        """Give the rows their arrays, which are those of all rows of the environment."""
        self._playing = arrays["playing"]
        for row, player in zip(self.rows, self._players, strict=True):
            player.attach({name: array[row] for name, array in arrays.items()}, arrays, row)

    def reset(self) -> None:
        """Begin the episode of `seed` in every row."""
        self._each(lambda player: player.begin(player.given_seed("seed")))

    def step(self) -> None:
        """Take `action` in every row; a row whose episode is over begins the episode of `upcoming`."""
        self._each(lambda player: player.step())

    def save(self) -> list[NDArray[Any]]:
        """Per row, the actions of its present episode: [step, agent] or [step, agent, dim]."""
        return [player.history() for player in self._players]

    def restore(self, histories: Sequence[NDArray[Any]]) -> None:
        """Begin the episode of `seed` in every row and play these actions."""
        given = iter(histories)
        self._each(lambda player: player.replay(next(given)))

    def render(self, row: int) -> NDArray[np.uint8]:
        """A picture of what a row shows: uint8 [height, width, 3]."""
        return self._players[row - self.rows.start].render()

    def tell(self, row: int, what: str) -> Any:
        """What a row says of itself, see `Row.tell`."""
        return self._players[row - self.rows.start].tell(what)

    def close(self) -> None:
        for player in self._players:
            player.close()

    def _each(self, act: Callable[[Row], None]) -> None:
        for row, player in zip(self.rows, self._players, strict=True):
            self._playing[self.rows.start] = row
            try:
                act(player)
            except ConfigurationError:
                raise
            except Exception as error:
                cause = f"{type(error).__name__}: {error}"
                raise RowFailure(row, player.seed, player.steps, cause) from error


class _Row(Row):
    """One environment object and the slices of the arrays that belong to it."""

    def __init__(self, environment: Any, rules: Rules, description: Description) -> None:
        super().__init__(rules, description)
        self._agents = description.agents
        self._fixed = rules.fixed_agents and not description.turns
        # Who is there, and of those who acts next.
        self._live = self._acts = [True] * len(self._agents)
        self._drawn = False
        self._take(environment)
        spaces = [environment.action_space(agent) for agent in self._agents]
        self._spaces = spaces
        common = description.actions_range
        self._made: list[Callable[[Any], Any]] = [
            codecs.chooser(space) if common is None else codecs.mover(space, common) for space in spaces
        ]

    def _take(self, environment: Any) -> None:
        self.environment = environment
        self._turns = environment if isinstance(environment, Turns) else None
        self._step = shortcut(environment) or environment.step

    def attach(self, arrays: Arrays, whole: Arrays, row: int) -> None:
        super().attach(arrays, whole, row)
        description, available = self.description, arrays["available_actions"]
        self._write = [
            codecs.writer(
                seen_space(self.environment.observation_space(name)),
                arrays["observation"][agent],
                description.image,
                description.channels,
            )
            for agent, name in enumerate(self._agents)
        ]
        self._masks = [available[agent] for agent in range(len(self._agents))]
        for agent in range(len(self._agents)):
            self._allow_all(agent)

    def begin(self, seed: int) -> None:
        """Reset, and show the first observations."""
        self._began(seed)
        observations, infos = self.environment.reset(seed=seed)
        present = self.environment.agents
        if not present:
            raise RuntimeError("no agent is there after reset")
        self._live = [agent in present for agent in self._agents]
        if not self._fixed:
            for agent, is_there in enumerate(self._live):
                if is_there:
                    self._allow_all(agent)
                else:
                    self._retire(agent)
                    self._arrays["observation"][agent, : self.description.longest] = 0
        elif not all(self._live):
            self._refuse_absence("is missing after reset")
        self._acts = self._next_to_act(self._live)
        self._arrays["acting"][:] = self._acts
        self._show(observations, infos, self._live)

    def step(self) -> None:
        arrays, live = self._arrays, self._live
        self._stepped()
        observations, rewards, terminations, truncations, infos = self._step(self._chosen())
        present = self.environment.agents
        late = self.rules.episode_limit is not None and self.steps >= self.rules.episode_limit
        over = late or not present
        reward, terminated, truncated = [], [], []
        for agent, name in enumerate(self._agents):
            gone = live[agent] and bool(terminations[name])
            # Truncated too is an agent that is gone without a word, or an episode that stops without one.
            cut = live[agent] and not gone and (over or bool(truncations[name]) or name not in present)
            reward.append(rewards[name] if live[agent] else 0.0)
            terminated.append(gone)
            truncated.append(cut)
        arrays["reward"][:], arrays["terminated"][:], arrays["truncated"][:] = reward, terminated, truncated
        goes_on = [
            was and not (gone or cut) for was, gone, cut in zip(live, terminated, truncated, strict=True)
        ]
        self._show(observations, infos, goes_on)
        self._whole["ended"][self._row] = over = not any(goes_on)
        if over:
            self._finish()
        elif self._fixed:
            if not all(goes_on):
                self._refuse_absence(f"left at step {self.steps}")
        else:
            self._leave(goes_on, present)

    def _next_to_act(self, present: list[bool]) -> list[bool]:
        if self._turns is None:
            return present
        turn = self._turns.selected
        return [is_there and name == turn for name, is_there in zip(self._agents, present, strict=True)]

    def _chosen(self) -> dict[str, Any]:
        """The actions of the agents that act, as the package wants them."""
        action = self._arrays["action"]
        numbers = action if self.description.actions_range is not None else action.tolist()
        chosen = {}
        for agent, name in enumerate(self._agents):
            if self._acts[agent]:
                try:
                    chosen[name] = self._made[agent](numbers[agent])
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from None
        return chosen

    def _show(self, observations: Mapping[str, Any], infos: Mapping[str, Any], goes_on: list[bool]) -> None:
        """Write what agents see that acted, and the masks of their next actions."""
        turn = None if self._turns is None else self._turns.selected
        for agent, name in enumerate(self._agents):
            if not self._live[agent] or name not in observations:
                continue
            observation = observations[name]
            mask = None
            if isinstance(observation, dict) and "action_mask" in observation:
                mask, observation = observation["action_mask"], observation["observation"]
            self._write[agent](observation)
            if self._turns is not None and name != turn:
                self._retire(agent)
                continue
            if mask is None:
                mask = infos.get(name, {}).get("action_mask")
            if mask is not None:
                self._mask(agent, mask, goes_on[agent])
            elif self.description.masks or self._turns is not None:
                self._allow_all(agent)
        if self.description.state_size:
            self._arrays["state"][:] = np.ravel(self.environment.state())

    def _mask(self, agent: int, mask: Any, goes_on: bool) -> None:
        if not self.description.masks:
            raise ConfigurationError(
                f"{self.rules.name} masks an action of {self._agents[agent]} at step {self.steps}, but did not "
                f"at its first reset.",
                hint="Set `action_masks: true` in the task's parameters.",
            )
        try:
            allowed = codecs.joint_mask(mask, self._spaces[agent])
        except ValueError as error:
            raise ValueError(f"the action mask of {self._agents[agent]} {error}") from None
        if allowed.any():
            self._masks[agent][: allowed.size] = allowed
        elif goes_on:
            raise ValueError(f"the action mask of {self._agents[agent]} allows nothing")
        else:
            # Packages mask everything where an agent is done.
            self._allow_all(agent)

    def _leave(self, goes_on: list[bool], present: Sequence[str]) -> None:
        for agent, name in enumerate(self._agents):
            if name in present and not self._live[agent]:
                raise RuntimeError(f"{name} joined within an episode")
            if self._live[agent] and not goes_on[agent]:
                self._retire(agent)
        self._live = goes_on
        self._acts = self._next_to_act(goes_on)
        self._arrays["acting"][:] = self._acts

    def _retire(self, agent: int) -> None:
        """An agent that does not act has its first action only."""
        self._masks[agent][:] = False
        self._masks[agent][0] = True

    def _allow_all(self, agent: int) -> None:
        count = self.description.action_counts[agent] if self.description.action_counts else 1
        self._masks[agent][:count] = True
        self._masks[agent][count:] = False

    def _refuse_absence(self, what: str) -> None:
        raise ConfigurationError(
            f"an agent of {self.rules.name} {what}, while others act (seed {self.seed}).",
            hint="Set `fixed_agents: false` in the task's parameters.",
        )

    def render(self) -> NDArray[np.uint8]:
        """Draw the environment; at the first time, an equal one that the package can draw takes its place."""
        # What a builder of ours made can always be drawn.
        if not self._drawn and not self.rules.builder and "render_mode" not in self.rules.kwargs:
            if self.steps and not self.rules.keeps_actions:
                raise ConfigurationError(
                    f"{self.rules.name} was not asked for pictures when its episode began.",
                    hint="Draw a row for the first time right after reset.",
                )
            self._replace(build(self.rules, drawn=True))
        self._drawn = True
        try:
            picture = np.asarray(self.environment.render())
        except Exception as error:
            raise ConfigurationError(
                f"{self.rules.name} could not be drawn: {type(error).__name__}: {error}",
                hint="Some packages draw only where there is a screen; `xvfb-run` gives them one.",
            ) from error
        if picture.ndim != 3 or picture.shape[2] < 3:
            raise ConfigurationError(
                f"{self.rules.name} draws no picture: its render() returned {picture!r}."
            )
        return np.ascontiguousarray(picture[:, :, :3], dtype=np.uint8)

    def _replace(self, environment: Any) -> None:
        """Let another environment object play the present episode, as far as it has come."""
        shown = self._arrays["observation"].copy()
        history = self.history()
        self.environment.close()
        self._take(environment)
        self.replay(history)
        if not np.array_equal(shown, self._arrays["observation"], equal_nan=True):
            raise ConfigurationError(
                f"{self.rules.name} cannot be drawn: after the same reset(seed={self.seed}) it shows something else.",
                hint="The package is not deterministic given its seed.",
            )

    def close(self) -> None:
        self.environment.close()
