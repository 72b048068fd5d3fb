"""VMAS (Bettini et al. 2022, "VMAS: A Vectorized Multi-Agent Simulator for Collective Robot Learning"), whose rows
are tensors already: they are stepped on the torch device, without worker processes.

The steps are VMAS's own, to the bit. What `vmas.Environment.step` does beside them is left out: checks of actions
that wait for the device, infos, and the random states of numpy and Python.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, JsonValue
from torch import Tensor

from marlbench.adapters.games import how_to_install
from marlbench.adapters.object_state import ObjectState
from marlbench.adapters.random_stream import RandomStream, common_seed
from marlbench.environments import contract
from marlbench.environments.contract import (
    AnyParameters,
    BatchedEnvironment,
    Continuous,
    Discrete,
    EnvironmentSpecification,
    Step,
)
from marlbench.errors import ConfigurationError, did_you_mean


class VmasParameters(contract.Parameters):
    """Which scenario is played, and how. See `VmasEnvironment`."""

    scenario: str = Field(pattern=r"^[A-Za-z_]\w*$", description="name of one of vmas's scenarios")
    kwargs: dict[str, JsonValue] = Field(
        default_factory=dict, description="arguments of the scenario, for instance n_agents"
    )
    continuous_actions: bool = Field(
        default=True, description="false: vmas's discrete actions, each part in steps, enumerated"
    )
    episode_limit: int | None = Field(
        default=100, ge=1, description="steps after which an episode is truncated"
    )


# What every step computes anew before it is read.
_PASSING = {"forces_dict", "torques_dict", "entity_index_map", "team_disps", "viewer"}


def _belongs(name: Any, value: Any) -> bool:
    """Whether an attribute is state of the simulator; vmas loads its scenarios as modules without a name."""
    if name in _PASSING:
        return False
    if not hasattr(value, "__dict__") or isinstance(value, Tensor):
        return True
    module = type(value).__module__
    return not module or module.startswith(("vmas.", "torch.distributions."))


class VmasEnvironment(BatchedEnvironment):
    """Rows of one of vmas's scenarios.

    Observations that are dictionaries are put side by side; agents that differ are padded and told apart by a
    one-hot of their type. Continuous actions are in the scenario's own bounds where these are one for all,
    otherwise in [-1, 1], which stands for the bounds; shorter actions ignore the rest.

    Rows share one stream of random numbers, seeded by the keys of all of them, because vmas draws for all at
    once: with the same keys, rows and actions all episodes are the same, but what a row draws depends on how
    many rows there are. Where some rows ended, vmas begins new episodes in all rows and the others get their
    state back, which takes the time of one reset whatever the number of rows.
    """

    backend = "vmas"
    argument = "scenario"
    independent_rows = False
    Parameters = VmasParameters

    @classmethod
    def simulator_version(cls, parameters: AnyParameters) -> str:
        """Name and version of vmas; raises ConfigurationError where it is not installed."""
        if importlib.util.find_spec("vmas") is None:
            raise ConfigurationError("the package 'vmas' is not installed.", hint=how_to_install("vmas"))
        return f"vmas {importlib.metadata.version('vmas')}"

    @classmethod
    def examples(cls) -> list[AnyParameters]:
        if importlib.util.find_spec("vmas") is None:
            return []
        return [
            VmasParameters(scenario="balance", kwargs={"n_agents": 2}, episode_limit=4),
            VmasParameters(scenario="simple_tag", continuous_actions=False, episode_limit=3),
            VmasParameters(scenario="simple_speaker_listener", episode_limit=4),
        ]

    def __init__(self, parameters: VmasParameters, rows: int, device: torch.device) -> None:
        self.rows, self.device, self.parameters = rows, device, parameters
        self._inner = _build(parameters, rows, device)
        self._scenario, self._world = self._inner.scenario, self._inner.world
        self._agents = self._inner.agents
        for entity in self._world.entities:
            # Some scenarios put a tensor in its place while they play, and some agents observe colours.
            entity.color = torch.as_tensor(entity.color, device=device)
        entities = {f"entity {number}": entity for number, entity in enumerate(self._world.entities)}
        self._objects = ObjectState({"scenario": self._scenario, "world": self._world, **entities}, _belongs)
        self._stream = RandomStream(0, device)
        self._resets = 0
        self._elapsed = torch.zeros(rows, dtype=torch.int64, device=device)
        self._describe()
        self._shown = self._template
        agents = len(self._agents)
        self._yes = torch.ones(rows, agents, dtype=torch.bool, device=device)
        self._no = torch.zeros(rows, agents, dtype=torch.bool, device=device)
        self._none_ended = torch.zeros(rows, dtype=torch.bool, device=device)

    def _describe(self) -> None:
        """Shapes of observations and actions, brought to one for all agents."""
        parameters, device = self.parameters, self.device
        with torch.no_grad():
            seen = [_flat(self._scenario.observation(agent)) for agent in self._agents]
        self._sizes = [tensor.shape[1] for tensor in seen]
        spaces = [self._inner.get_agent_action_space(agent) for agent in self._agents]
        kinds = [(size, repr(space)) for size, space in zip(self._sizes, spaces, strict=True)]
        distinct = list(dict.fromkeys(kinds))
        longest, agents = max(self._sizes), len(spaces)
        features = longest + (len(distinct) if len(distinct) > 1 else 0)
        self._template = torch.zeros(self.rows, agents, features, device=device)
        if len(distinct) > 1:
            for agent, kind in enumerate(kinds):
                self._template[:, agent, longest + distinct.index(kind)] = 1
        action: Discrete | Continuous
        counts = [1] * agents
        self._bounds: tuple[Tensor, Tensor] | None = None
        if parameters.continuous_actions:
            lows = [torch.as_tensor(space.low) for space in spaces]
            highs = [torch.as_tensor(space.high) for space in spaces]
            self._action_sizes = [len(low) for low in lows]
            low, high = torch.cat(lows), torch.cat(highs)
            if bool((low == low[0]).all() and (high == high[0]).all()):
                action = Continuous(max(self._action_sizes), float(low[0]), float(high[0]))
            else:
                action = Continuous(max(self._action_sizes), -1.0, 1.0)
                padded = torch.nn.utils.rnn.pad_sequence
                self._bounds = (
                    padded(lows, batch_first=True).to(device),
                    padded(highs, batch_first=True).to(device),
                )
        else:
            counts = [int(space.n) for space in spaces]
            action = Discrete(max(counts))
            self._tables = [_physical_actions(agent, device) for agent in self._agents]
        available = torch.arange(max(counts)) < torch.tensor(counts).unsqueeze(1)
        self._available = available.to(device).expand(self.rows, -1, -1).contiguous()
        self._talks = [self._world.dim_c > 0 and not agent.silent for agent in self._agents]
        self.specification = EnvironmentSpecification(
            agents=tuple(agent.name for agent in self._agents),
            observation_size=features,
            state_size=agents * features,
            action=action,
            episode_limit=parameters.episode_limit,
            masks_actions=len(set(counts)) > 1,
        )

    def reset(self, keys: Tensor) -> Step:
        """Start episode 0 in every row, drawn from one stream that the keys seed together."""
        self._stream = RandomStream(common_seed(keys), self.device)
        self._resets = 0
        self._elapsed.zero_()
        observation = self._template.clone()
        with self._simulating():
            self._begin_all()
            self._observe(observation)
        return self._show(observation)

    def step(self, action: Tensor) -> Step:
        observation, reward = self._template.clone(), torch.empty(self._no.shape, device=self.device)
        with self._simulating():
            self._advance(action)
            # Scenarios may work on the tensor that they returned before: each is copied at once.
            for index, agent in enumerate(self._agents):
                # Some have an axis of one behind that of the rows.
                reward[:, index] = self._scenario.reward(agent).reshape(-1)
            self._observe(observation)
            done = self._scenario.done()
        terminated = done.clone()
        self._elapsed += 1
        limit = self.parameters.episode_limit
        ended = terminated if limit is None else terminated | (self._elapsed >= limit)
        count = int(ended.sum())
        if not count:
            return self._show(observation, reward)
        fresh = self._template.clone()
        with self._simulating():
            self._begin_again(ended, every_row=count == self.rows)
            self._observe(fresh)
        self._elapsed.masked_fill_(ended, 0)
        if count < self.rows:
            fresh = torch.where(ended.view(-1, 1, 1), fresh, observation)
        step = self._show(fresh, reward)
        step.terminated = terminated.unsqueeze(1).expand_as(self._no)
        step.truncated = (ended & ~terminated).unsqueeze(1).expand_as(self._no)
        step.ended, step.any_ended = ended, True
        step.final_observation, step.final_state = observation, observation.flatten(1)
        return step

    def _advance(self, action: Tensor) -> None:
        self._act(action)
        for agent in self._world.agents:
            self._scenario.env_process_action(agent)
        self._scenario.pre_step()
        self._world.step()
        self._scenario.post_step()

    def _act(self, action: Tensor) -> None:
        """Tell the agents what to do, as `vmas.Environment` does, which is asked itself where they also talk."""
        for index, agent in enumerate(self._agents):
            if isinstance(self.specification.action, Discrete):
                chosen = action[:, index]
                if self._talks[index]:
                    self._inner._set_action(chosen.unsqueeze(1), agent)
                    continue
                physical = self._tables[index][chosen]
            else:
                physical = self._within(action, index)
                if self._talks[index]:
                    self._inner._set_action(physical, agent)
                    continue
            agent.action.u = physical * agent.action.u_multiplier_tensor
            if agent.action.u_noise > 0:
                agent.action.u += torch.randn(*physical.shape, device=self.device) * agent.u_noise

    def _within(self, action: Tensor, index: int) -> Tensor:
        """An agent's own part of its actions, in its bounds: [row, size]."""
        common = self.specification.action
        assert isinstance(common, Continuous)
        own = action[:, index, : self._action_sizes[index]].clamp(common.low, common.high)
        if self._bounds is None:
            return own
        low, high = (bound[index, : self._action_sizes[index]] for bound in self._bounds)
        return torch.minimum(torch.maximum(low + (own + 1.0) / 2.0 * (high - low), low), high)

    def _begin_again(self, ended: Tensor, every_row: bool) -> None:
        """New episodes where the old ones ended."""
        before = {} if every_row else self._objects.copy_rows(self.rows)
        self._begin_all()
        if before:
            self._objects.keep_rows(before, ~ended)

    def _begin_all(self) -> None:
        # One of vmas's scenarios draws from numpy, at resets only.
        outer = np.random.get_state()
        np.random.seed((self._stream.seed + self._resets) % 2**32)
        self._resets += 1
        try:
            self._scenario.env_reset_world_at(None)
        finally:
            np.random.set_state(outer)

    def _observe(self, observation: Tensor) -> None:
        """Fill in what the agents see: [row, agent, features]."""
        for index, (agent, size) in enumerate(zip(self._agents, self._sizes, strict=True)):
            observation[:, index, :size] = _flat(self._scenario.observation(agent))

    def _show(self, observation: Tensor, reward: Tensor | None = None) -> Step:
        self._shown = observation
        state = observation.flatten(1)
        return Step(
            observation=observation,
            state=state,
            available_actions=self._available,
            acting=self._yes,
            new_occupant=self._no,
            reward=torch.zeros(self._no.shape, device=self.device) if reward is None else reward,
            terminated=self._no,
            truncated=self._no,
            ended=self._none_ended,
            any_ended=False,
            final_observation=observation,
            final_state=state,
            final_available_actions=self._available,
        )

    @contextlib.contextmanager
    def _simulating(self) -> Iterator[None]:
        """Let vmas draw from this environment's own stream instead of the global one, and spare it the bookkeeping of
        gradients. Tensors that are made in here must not get out: no gradient could pass them."""
        with self._stream.drawing(), torch.inference_mode():
            yield

    def render(self, row: int) -> NDArray[np.uint8]:
        """What vmas draws of a row, through OpenGL.

        Raises:
            ConfigurationError: there is neither a screen nor EGL here, or a library of vmas's is missing.
        """
        try:
            picture = self._inner.render(mode="rgb_array", env_index=row)
        except Exception as error:
            raise ConfigurationError(
                f"vmas could not draw: {type(error).__name__}: {error}",
                hint="It draws where there is a screen and OpenGL; without one, `xvfb-run marlbench ...` gives it one.",
            ) from error
        return np.ascontiguousarray(np.asarray(picture)[:, :, :3], dtype=np.uint8)

    def state_dict(self) -> dict[str, object]:
        return {
            "stream": self._stream.state_dict(),
            "resets": self._resets,
            "elapsed": self._elapsed.clone(),
            "observation": self._shown.clone(),
            "objects": self._objects.save(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> Step:
        """Continue; raises ConfigurationError where the scenario does not hold what it held."""
        # Some attributes are made by the first step.
        common, lead = self.specification.action, self._no.shape
        if isinstance(common, Discrete):
            self.step(torch.zeros(lead, dtype=torch.int64, device=self.device))
        else:
            self.step(torch.zeros(*lead, common.size, device=self.device))
        self._stream.load_state_dict(state["stream"])
        self._resets = state["resets"]
        self._elapsed = state["elapsed"].to(self.device, copy=True)
        try:
            self._objects.load(state["objects"], self.device)
        except KeyError as error:
            raise ConfigurationError(
                f"the state of vmas's {self.parameters.scenario} cannot be restored: it has no place {error}.",
                hint="It was saved by another version of vmas, or with other arguments.",
            ) from error
        return self._show(state["observation"].to(self.device, copy=True))


def _flat(observation: Any) -> Tensor:
    """An observation of vmas, a tensor [row, ...] or a dictionary of them, as [row, features]."""
    if isinstance(observation, dict):
        return torch.cat([_flat(value) for value in observation.values()], 1)
    tensor: Tensor = observation
    return tensor if tensor.dim() == 2 else tensor.flatten(1)


def _physical_actions(agent: Any, device: torch.device) -> Tensor:
    """The forces that vmas's discrete actions of an agent stand for: [choice, number].

    Each number has choices spread evenly over its range; of an odd number of choices the first is the middle one.
    """
    counts = list(agent.discrete_action_nvec)
    choices = torch.arange(math.prod(counts), device=device)
    table = torch.zeros(len(choices), agent.action_size, device=device)
    for place, count in enumerate(counts):
        part = choices // math.prod(counts[place + 1 :]) % count
        if count % 2:
            middle = count // 2
            part = torch.where(part == 0, middle, torch.where(part <= middle, part - 1, part))
        most = agent.action.u_range_tensor[place]
        table[:, place] = (part / (count - 1)) * (2 * most) - most
    return table


def _build(parameters: VmasParameters, rows: int, device: torch.device) -> Any:
    """vmas's own environment; raises ConfigurationError where it refuses the scenario or its arguments."""
    try:
        import vmas
    except ImportError as error:
        raise ConfigurationError(f"vmas does not import: {error}", hint=how_to_install("vmas")) from error
    known = sorted([*vmas.scenarios, *vmas.mpe_scenarios, *vmas.debug_scenarios])
    if parameters.scenario not in known:
        raise ConfigurationError(
            f"vmas has no scenario '{parameters.scenario}'.", hint=did_you_mean(parameters.scenario, known)
        )
    try:
        return vmas.make_env(
            parameters.scenario,
            num_envs=rows,
            device=device,
            continuous_actions=parameters.continuous_actions,
            clamp_actions=True,
            **parameters.kwargs,
        )
    except Exception as error:
        given = "".join(f", {name}={value!r}" for name, value in parameters.kwargs.items())
        raise ConfigurationError(
            f"vmas.make_env('{parameters.scenario}'{given}) failed: {type(error).__name__}: {error}",
            hint="`kwargs` of the task are the arguments of the scenario.",
        ) from error
