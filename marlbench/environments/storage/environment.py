"""Storage placement as a batched environment: one step is one request in every row."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marlbench.environments.contract import (
    AnyParameters,
    BatchedEnvironment,
    Discrete,
    EnvironmentSpecification,
    Step,
)
from marlbench.environments.keys import derive
from marlbench.environments.storage import driver, layout
from marlbench.environments.storage.observation import features
from marlbench.environments.storage.parameters import AGENT, MIGRATIONS, PLACEMENTS, StorageParameters
from marlbench.environments.storage.picture import SHOWN, Moment, picture
from marlbench.environments.storage.systems import MEASURES, Systems
from marlbench.environments.storage.workloads.drawing import draw, extent
from marlbench.environments.storage.workloads.names import title
from marlbench.errors import MarlbenchError

AGENTS = ("placement", "migration")


class StoragePlacement(BatchedEnvironment):
    """Hybrid storage systems; see docs/storage.md for system, agents, rewards and observations.

    An episode is a workload: its end terminates both agents. With `segment`, a row ends every so many requests
    (truncated) and tells its measures, while its system goes on.
    """

    Parameters: ClassVar[type[AnyParameters]] = StorageParameters
    draws_final = True

    @classmethod
    def data_hashes(cls, parameters: AnyParameters) -> dict[str, str]:
        assert isinstance(parameters, StorageParameters)
        if parameters.trace is None:
            return {}
        from marlbench.environments.storage.workloads.traces import sha256

        return {"trace": sha256(parameters.trace)}

    @classmethod
    def for_evaluation(cls, parameters: AnyParameters) -> AnyParameters:
        assert isinstance(parameters, StorageParameters)
        if parameters.test_workload is None:
            return parameters
        return StorageParameters(**parameters.model_dump() | {"workload": parameters.test_workload})

    @classmethod
    def examples(cls) -> list[AnyParameters]:
        short: dict[str, Any] = {"requests": 6, "addresses": 30, "warm_up": 0.0}
        migrating: dict[str, Any] = {"migration_batch": 1, "migration_window": 2, "interval": 60_000.0}
        return [
            StorageParameters(**short),
            StorageParameters(
                configuration="hmdl", workload="phases", reward="harmonia", **migrating, **short
            ),
            StorageParameters(configuration="hl", segment=2, placement="lru", **migrating, **short),
            StorageParameters(
                workload=("calibrated_prxy_0", "uniform"), reward="sibyl_code", migration="hotness", **short
            ),
        ]

    def __init__(self, parameters: AnyParameters, rows: int, device: torch.device) -> None:
        assert isinstance(parameters, StorageParameters)
        self.parameters, self.rows, self.device = parameters, rows, device
        count = len(parameters.configuration)
        columns = features(count)
        pages, requests = extent(parameters)
        self.specification = EnvironmentSpecification(
            agents=AGENTS,
            observation_size=len(columns),
            state_size=2 * len(columns) + count + 1,
            action=Discrete(count),
            metrics=MEASURES,
            episode_limit=min(requests, parameters.segment or requests),
            masks_actions=False,
            skips_steps=True,
            features=columns,
            built_in={"placement": PLACEMENTS, "migration": MIGRATIONS},
            paid_after={"migration": parameters.migration_window},
        )
        self.systems = Systems(parameters, rows, pages, requests)
        self._own = np.array([parameters.placement == AGENT, parameters.migration == AGENT])
        self._keys = torch.zeros(rows, dtype=torch.int64)
        self._episode = torch.zeros(rows, dtype=torch.int64)
        self._fresh = np.ones(rows, bool)
        self._over, self._ended = np.zeros((2, rows), bool)
        self._no = torch.zeros(rows, 2, dtype=torch.bool, device=device)
        self._none = torch.zeros(rows, dtype=torch.bool, device=device)
        self._nothing = torch.zeros(rows, 2, device=device)
        # Kept of the rows that were drawn, from then on.
        self._drawn: dict[int, list[Moment]] = {}
        self._ends: dict[int, NDArray[np.uint8]] = {}

    def reset(self, keys: Tensor) -> Step:
        self._keys = keys.cpu().clone()
        self._episode.zero_()
        self._drawn, self._ends = {}, {}
        self._feed(range(self.rows))
        self.systems.begin(range(self.rows))
        self._fresh[:] = True
        return self._show(self._nothing)

    def step(self, action: Tensor) -> Step:
        taken = action.to("cpu", torch.int64).numpy()
        if np.count_nonzero(self._fresh):
            self._let_play(taken)
        reward = np.empty((self.rows, 2), np.float32)
        systems = self.systems
        segment = self.parameters.segment or 0
        refused = driver.step_rows(
            systems.row,
            systems.feeds,
            systems.rules,
            taken,
            segment,
            reward,
            self._over,
            self._ended,
            self._own,
        )
        if refused >= 0:
            raise MarlbenchError(
                f"row {refused} cannot take the actions {taken[refused].tolist()}: there are "
                f"{len(self.parameters.configuration)} devices, and an episode keeps to the built-in players of "
                "its first step."
            )
        paid = self._tensor(reward)
        if self._drawn:
            self._remember()
        return self._end(paid, self._ended) if np.count_nonzero(self._ended) else self._show(paid)

    def _tensor(self, value: NDArray[Any]) -> Tensor:
        made = torch.from_numpy(value)
        return made if self.device.type == "cpu" else made.to(self.device)

    def _end(self, reward: Tensor, ended: NDArray[np.bool_]) -> Step:
        systems = self.systems
        final = self._show(reward)
        metrics = {
            name: torch.from_numpy(value.astype(np.float32)).to(self.device)
            for name, value in systems.measures().items()
        }
        over = torch.from_numpy(self._over.copy())
        systems.forget(ended)
        self._episode += over
        fresh = np.flatnonzero(self._over)
        if len(fresh):
            self._feed(fresh.tolist())
            systems.begin(fresh.tolist())
            self._fresh[fresh] = True
        step = self._show(reward)
        rows = torch.from_numpy(ended).to(self.device)
        over = over.to(self.device)
        step.terminated = over.unsqueeze(1).expand(-1, 2)
        step.truncated = (rows & ~over).unsqueeze(1).expand(-1, 2)
        step.ended = rows
        step.any_ended = True
        step.final_observation = final.observation
        step.final_state = final.state
        step.final_available_actions = final.available_actions
        step.metrics = metrics
        return step

    def _remember(self) -> None:
        """Keep the request just served, and the picture of an end, of the rows that are drawn."""
        self._ends = {}
        for row, moments in self._drawn.items():
            state, workload = self.systems.row.state[row], self.systems.workloads[row]
            assert workload is not None
            time = int(state["whole"][layout.TIME])
            page, _, write = workload.requests[time - 1].tolist()
            device = int(self.systems.row.pages[row, page, layout.DEVICE])
            moments.append((page, device, float(state["real"][layout.LATENCY]), bool(write)))
            del moments[:-SHOWN]
            if self._over[row]:
                self._ends[row] = self._picture(row)
                moments.clear()

    def render(self, row: int) -> NDArray[np.uint8]:
        """Placement over time; see `picture.picture`."""
        self._drawn.setdefault(row, [])
        return self._ends[row] if row in self._ends else self._picture(row)

    def _picture(self, row: int) -> NDArray[np.uint8]:
        parameters, workload = self.parameters, self.systems.workloads[row]
        assert workload is not None
        devices = self.systems.row.state[row]["devices"][: len(parameters.configuration)]
        used = (devices[:, layout.USED] / devices[:, layout.CAPACITY]).tolist()
        names = ", ".join(title(name) for name in parameters.workloads)
        return picture(names, parameters.configuration, workload.pages, self._drawn.get(row, []), used)

    def _feed(self, rows: Any) -> None:
        keys = derive(self._keys, self._episode).tolist()
        for row in rows:
            self.systems.feed(row, draw(self.parameters, keys[row]))

    def _let_play(self, action: NDArray[np.int64]) -> None:
        """Rows at their first request take over the built-in players that the actions ask for."""
        for row in np.flatnonzero(self._fresh):
            players = [
                -1 - int(code) if own and code < 0 else int(present)
                for own, code, present in zip(
                    self._own,
                    action[row],
                    self.systems.row.state["whole"][row, layout.ASKED_PLACER :],
                    strict=False,
                )
            ]
            for agent, player in zip(AGENTS, players, strict=True):
                assert self.specification.built_in is not None
                if player >= len(self.specification.built_in[agent]):
                    raise MarlbenchError(f"{agent} has no built-in player {player}.")
            self.systems.let_play(int(row), *players)
        self._fresh[:] = False

    def _show(self, reward: Tensor) -> Step:
        specification, systems = self.specification, self.systems
        observation = np.zeros((self.rows, 2, specification.observation_size), np.float32)
        state = np.zeros((self.rows, specification.state_size), np.float32)
        available = np.zeros((self.rows, 2, len(self.parameters.configuration)), bool)
        acting = np.zeros((self.rows, 2), bool)
        driver.show_rows(systems.row, systems.feeds, self._own, observation, state, available, acting)
        seen = self._tensor(observation)
        whole = self._tensor(state)
        legal = self._tensor(available)
        return Step(
            observation=seen,
            state=whole,
            available_actions=legal,
            acting=self._tensor(acting),
            new_occupant=self._no,
            reward=reward,
            terminated=self._no,
            truncated=self._no,
            ended=self._none,
            any_ended=False,
            final_observation=seen,
            final_state=whole,
            final_available_actions=legal,
        )

    def state_dict(self) -> dict[str, object]:
        return {
            "systems": {name: torch.from_numpy(value) for name, value in self.systems.state_dict().items()},
            "keys": self._keys.clone(),
            "episode": self._episode.clone(),
            "fresh": torch.from_numpy(self._fresh.copy()),
        }

    def load_state_dict(self, state: dict[str, object]) -> Step:
        systems, keys, episode, fresh = (state[name] for name in ("systems", "keys", "episode", "fresh"))
        assert isinstance(systems, dict)
        assert isinstance(keys, Tensor)
        assert isinstance(episode, Tensor)
        assert isinstance(fresh, Tensor)
        self._keys, self._episode = keys.cpu().clone(), episode.cpu().clone()
        self._fresh = fresh.cpu().numpy().copy()
        self._feed(range(self.rows))
        self.systems.load_state_dict({name: value.cpu().numpy() for name, value in systems.items()})
        return self._show(self._nothing)
