"""One simulation with signals: the control loop, observations and rewards. Runs in a worker, without torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from marlbench.adapters.games import Rules
from marlbench.adapters.spaces import Description
from marlbench.adapters.sumo.row import SumoRow
from marlbench.adapters.sumo.signals.measures import MEASURES, Episode
from marlbench.adapters.sumo.signals.plans import Plan, read
from marlbench.adapters.sumo.signals.players import PLAYERS
from marlbench.adapters.sumo.signals.programs import Additional, commented_programs
from marlbench.adapters.sumo.signals.sensors import Detectors, Lanes, Standing, leads_to
from marlbench.adapters.sumo.signals.watching import Map, Moment, Story, chart, mean_delays
from marlbench.adapters.sumo.simulation import Output

# Seconds of standing that `waiting_change` counts as one [code: sumo-rl]; RESCO's norm and bound of waits.
_SECONDS, _WAIT_NORM, _WAIT_MOST = 100.0, 224.0, 4.0


@dataclass(frozen=True)
class Told:
    """What the row is told; the fields of `SignalsParameters`, with paths of files."""

    network_file: str
    route_file: str
    begin: int
    decisions: int
    decision_interval: int
    yellow: int
    minimum_green: int
    reward: str
    departures: str
    teleport_after: int
    shortest_lane: float
    commented_phases: bool
    road_delays: bool


class SignalsRow(SumoRow):
    """At the beginning of each interval every signal is told its next phase. One that changes shows yellow first."""

    def describe(self, rules: Rules) -> Description:
        self.told = Told(**rules.kwargs)
        self._edge_data, self._watched = Output(), self.told.road_delays
        self._story: Story | None = None
        self._network = ["--net-file", self.told.network_file, "--route-files", self.told.route_file]
        self._network += [
            "--begin",
            str(self.told.begin),
            "--time-to-teleport",
            str(self.told.teleport_after),
        ]
        # So long SUMO remembers that a vehicle stood: it forgets after 100 s otherwise.
        self._network += ["--waiting-time-memory", str(self.told.decisions * self.told.decision_interval)]
        if self.told.departures == "standing":
            self._network += ["--default.departspeed", "0", "--default.departlane", "first"]
        programs = commented_programs(self.told.network_file) if self.told.commented_phases else ""
        self._additional = Additional(programs)
        self._network += self._additional.options
        self.plans, self._behind = self.once(self._survey)
        phases = max(len(plan.phases) for plan in self.plans)
        lanes = max(len(plan.lanes) for plan in self.plans)
        names = [f"phase_{phase}" for phase in range(phases)] + ["minimum_green_over"]
        names += [f"{what}_{lane}" for what in ("density", "queue") for lane in range(lanes)]
        kinds = [(len(plan.phases), len(plan.lanes)) for plan in self.plans]
        distinct = list(dict.fromkeys(kinds))
        self._most_phases, self._most_lanes = phases, lanes
        self._all = np.arange(len(self.plans))
        # Where in the observations the density of each lane stands: agents and columns.
        self._places = (
            np.repeat(self._all, [len(plan.lanes) for plan in self.plans]),
            np.concatenate([phases + 1 + np.arange(len(plan.lanes)) for plan in self.plans]),
        )
        self._between = [
            {(was, comes): plan.between(was, comes) for was in choices for comes in choices}
            for plan in self.plans
            for choices in [range(len(plan.phases))]
        ]
        return Description(
            agents=tuple(plan.signal for plan in self.plans),
            observation_sizes=(len(names),) * len(self.plans),
            image=None,
            beside=0,
            channels="last",
            types=tuple(distinct.index(kind) for kind in kinds),
            action_counts=tuple(len(plan.phases) for plan in self.plans),
            actions_range=None,
            state_size=0,
            masks=len({len(plan.phases) for plan in self.plans}) > 1 or self._green_may_be_too_short,
            turns=False,
            metrics=MEASURES,
            names=tuple(names),
            built_in={plan.signal: tuple(PLAYERS) for plan in self.plans},
        )

    def _survey(self) -> tuple[list[Plan], dict[str, tuple[str, ...]]]:
        """The signals' plans, and which lanes their outgoing lanes lead to."""
        self.begin_simulation(self._network, 0)
        plans = read(self.simulation.libsumo, self.told.shortest_lane)
        behind = leads_to(self.simulation.libsumo, plans)
        self.end_simulation()
        return plans, behind

    @property
    def _green_may_be_too_short(self) -> bool:
        """Whether a phase can be too young to be left at the decision after its first."""
        return self.told.decision_interval - self.told.yellow < self.told.minimum_green

    def start(self, seed: int) -> None:
        watched = ["--edgedata-output", self._edge_data.path] if self._watched else []
        self.begin_simulation([*self._network, *watched], seed)
        libsumo, plans = self.simulation.libsumo, self.plans
        self._time = float(self.told.begin)
        self._phase = [0] * len(plans)
        # A signal may leave the phase that it begins with at once.
        self._green_since = np.full(len(plans), -np.inf)
        self._players: list[str | None] | None = None
        self._lanes = Lanes(libsumo, plans)
        self._standing = Standing(libsumo, self._lanes)
        self._detectors = Detectors(libsumo, plans, self._lanes, self.told.decision_interval)
        self._episode = Episode(self._lanes)
        self._show()
        self._detectors.read()
        self._stood = self._standing.read() if self.told.reward == "waiting_change" else np.zeros(len(plans))

    def advance(self) -> bool:
        arrays, told = self._arrays, self.told
        actions = arrays["action"].tolist()
        if self._players is None:
            self._let_play(actions)
        self._switch([self._chosen(agent, action) for agent, action in enumerate(actions)])
        over = self.steps >= told.decisions
        self._show()
        if told.reward == "waiting" or self._needs_detectors:
            self._detectors.read()
        arrays["reward"][:] = self._reward()
        arrays["truncated"][:] = over
        return over

    def measure(self) -> list[float]:
        self._episode.counted(self.simulation.counts())
        trips = self.end_simulation()
        self._story = self._told_so_far(mean_delays(self._edge_data.read()) if self._watched else {})
        return self._episode.measure(trips, (self._time - self.told.begin) / 3_600.0)

    # --- pictures

    def tell(self, what: str) -> Map | Moment | Story | None:
        """After `watch` SUMO writes edge data. `map`; `moment`; `story` of the episode that ended last, or of the
        present one where none has."""
        if what == "watch":
            self._watch()
            return None
        if what == "map":
            return chart(self.simulation.libsumo, self.plans)
        if what == "moment":
            return Moment(self._time, self._lanes.standing)
        return self._story or self._told_so_far({})

    def carried(self) -> tuple[bool, Story | None]:
        return self._watched, self._story

    def carry(self, kept: tuple[bool, Story | None]) -> None:
        self._watched, self._story = kept

    def _told_so_far(self, delays: dict[str, float]) -> Story:
        return Story(self.told.begin, self.told.decision_interval, np.array(self._episode.standing), delays)

    def _watch(self) -> None:
        """Write edge data from now on: the present episode is played again; where its actions were not kept, it is the
        next one that is watched."""
        if self._watched:
            return
        self._watched = True
        if not self.steps or self.rules.keeps_actions:
            self.replay(self.history())

    def close(self) -> None:
        super().close()
        self._edge_data.close()
        self._additional.close()

    # --- decisions

    def _let_play(self, actions: list[int]) -> None:
        """Players that the episode's first actions ask for; a signal that decides begins with its first phase."""
        names = list(PLAYERS)
        if any(action < -len(names) for action in actions):
            raise ValueError(f"there are {len(names)} players, and the actions are {actions}")
        self._players = [names[-1 - action] if action < 0 else None for action in actions]
        for agent, player in enumerate(self._players):
            if player is None or PLAYERS[player] is not None:
                self._set(agent, self.plans[agent].phases[0])

    def _chosen(self, agent: int, action: int) -> int | None:
        """The phase of a signal in the next interval; None where the network's own program runs it."""
        plan, phase = self.plans[agent], self._phase[agent]
        assert self._players is not None
        name = self._players[agent]
        if (name is None) != (action >= 0) or action >= len(plan.phases):
            raise ValueError(
                f"signal {plan.signal} has {len(plan.phases)} phases and cannot take action {action}"
            )
        young = bool(self._young[agent])
        if name is None:
            if young and action != phase:
                raise ValueError(f"signal {plan.signal} must keep phase {phase} for its minimum green")
            return action
        rule = PLAYERS[name]
        if rule is None:
            return None
        return phase if young else rule(plan, self._detectors, self._behind)

    def _switch(self, chosen: list[int | None]) -> None:
        """Simulate one interval: yellow where a signal changes, then the chosen phases."""
        changed = [
            (agent, phase)
            for agent, phase in enumerate(chosen)
            if phase is not None and phase != self._phase[agent]
        ]
        began, yellow = self._time, self.told.yellow
        if changed:
            for agent, phase in changed:
                self._set(agent, self._between[agent][self._phase[agent], phase])
            self.simulation.step_to(began + yellow)
            for agent, phase in changed:
                self._set(agent, self.plans[agent].phases[phase])
                self._phase[agent], self._green_since[agent] = phase, began + yellow
        self._time = began + self.told.decision_interval
        self.simulation.step_to(self._time)

    def _set(self, agent: int, state: str) -> None:
        self.simulation.libsumo.trafficlight.setRedYellowGreenState(self.plans[agent].signal, state)

    # --- what is seen

    def _show(self) -> None:
        density, queue = self._lanes.read()
        self._episode.add(self._lanes)
        observation, phases = self._arrays["observation"], self._most_phases
        agents, columns = self._places
        observation[:, :phases] = 0.0
        observation[self._all, self._phase] = 1.0
        observation[agents, columns] = density
        observation[agents, columns + self._most_lanes] = queue
        self._young = self._time - self._green_since < self.told.minimum_green
        observation[:, phases] = ~self._young
        if self._green_may_be_too_short or not self.steps:
            self._show_available()

    def _show_available(self) -> None:
        available = self._arrays["available_actions"]
        for agent, plan in enumerate(self.plans):
            available[agent, : len(plan.phases)] = not self._young[agent]
            available[agent, self._phase[agent]] = True

    @property
    def _needs_detectors(self) -> bool:
        return self._players is None or any(name and PLAYERS[name] for name in self._players)

    def _reward(self) -> NDArray[np.float64]:
        kind = self.told.reward
        if kind == "waiting_change":
            before, self._stood = self._stood, self._standing.read()
            return (before - self._stood) / _SECONDS
        if kind == "waiting":
            return -np.minimum(self._detectors.wait / _WAIT_NORM, _WAIT_MOST)
        halting = self._episode.standing[-1]
        if kind == "queue":
            return -halting.astype(np.float64)
        queue = dict(zip(self._lanes.names, self._lanes.standing.tolist(), strict=True))
        after = [
            sum(queue[lane] for lane in {lane for way in _ways(plan) for lane in self._behind[way]})
            for plan in self.plans
        ]
        return np.array(after, np.float64) - halting


def _ways(plan: Plan) -> set[str]:
    """Outgoing lanes of a signal."""
    return {way.outgoing for movements in plan.movements for way in movements}
