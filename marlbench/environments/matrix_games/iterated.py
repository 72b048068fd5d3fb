"""Repeated games of two actions among learners, against players with fixed rules, or against both by turns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat, model_validator
from torch import Tensor

from marlbench.environments import contract
from marlbench.environments.contract import AnyParameters, Discrete, EnvironmentSpecification
from marlbench.environments.keys import derive, uniform
from marlbench.environments.matrix_games import co_players
from marlbench.environments.matrix_games.games import GAMES, dilemma
from marlbench.environments.simulator import TensorSimulator

# Events as a learner sees them: CC, CD, DC, DD with its own action first, and the start, which comes last.
EVENTS = 5
START = 4


class IteratedGameParameters(contract.Parameters):
    """Which game, how long, and whom the learners meet. See `IteratedGame`."""

    game: Literal["prisoners_dilemma", "stag_hunt", "chicken"] = Field(
        default="prisoners_dilemma", description="which payoffs"
    )
    payoffs: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat] | None = Field(
        default=None, description="other payoffs for CC, CD, DC, DD, one's own action first"
    )
    rounds: int = Field(default=100, ge=1, le=10_000, description="rounds of an episode")
    opponents: Literal["learners", "co_players", "mixed"] = Field(
        default="learners",
        description="whom a learner meets in an episode: another learner, a player with a fixed rule, or either with "
        "equal probability",
    )
    agents: int | None = Field(
        default=None, ge=1, le=64, description="learners; 4 where opponents are mixed, else 2, by default"
    )
    co_player: Literal[
        "tabular", "tit_for_tat", "win_stay_lose_shift", "always_cooperate", "always_defect"
    ] = Field(default="tabular", description="the rule of the co-players")
    co_player_probabilities: tuple[float, float, float, float, float] | None = Field(
        default=None,
        description="of C, for tabular co-players: at the start, then after CC, CD, DC, DD, their own action first; "
        "without them, each draws its own for every episode, uniformly from [0, 1]",
    )
    identity: bool = Field(default=False, description="tell learners whether they meet a co-player")

    @model_validator(mode="after")
    def _usual_values(self) -> IteratedGameParameters:
        if self.agents is None:
            # The model is frozen for everybody else.
            self.__dict__["agents"] = 4 if self.opponents == "mixed" else 2
        return self

    @model_validator(mode="after")
    def _consistent(self) -> IteratedGameParameters:
        assert self.agents is not None
        if self.opponents == "mixed" and self.agents % 4:
            raise ValueError(
                "with mixed opponents, half of the agents meet in pairs: agents is a multiple of 4"
            )
        if self.opponents == "learners" and self.agents % 2:
            raise ValueError("learners meet in pairs: agents must be even")
        if self.co_player_probabilities is not None:
            if self.co_player != "tabular":
                raise ValueError("co_player_probabilities belong to co_player 'tabular'")
            if not all(0 <= probability <= 1 for probability in self.co_player_probabilities):
                raise ValueError("co_player_probabilities lie in [0, 1]")
        return self


class IteratedGame(TensorSimulator):
    """Games of two for a number of rounds; action 0 cooperates (C), action 1 defects (D).

    arXiv 2602.16301 [paper]: 100 rounds; a learner observes the joint action before as a one-hot of CC, CD, DC, DD
    (its own action first) and the start; a tabular co-player has five probabilities of C, each U(0, 1), drawn for
    every episode; in the mixed pool half of a learner's episodes are against another learner and half against a
    tabular player, which it is not told.

    Who meets whom is drawn anew for every episode. In the mixed pool a random half of the agents meets in pairs and
    each of the others has a game of its own against a co-player [ours: the paper's halves for every learner, in every
    episode; no agent's seat is ever given to a co-player, so all agents act at every step]. With `identity` one more
    feature is 1 where the opponent is a co-player. State: the observations of all agents side by side. Learners cannot
    see the end coming: an episode is cut after its rounds (truncated); a single round is over (terminated).

    Metrics: `payoff_mean` and `payoff_AGENT`, a round's payoff, averaged over learners and of each. Where learners
    meet, over their games: `cooperation_level`, share of C; `mutual_cooperation` and `mutual_defection`, shares of
    rounds with CC and with DD; `exploitation`, share of rounds in which one defects and the other cooperates. Where
    there are co-players, over the games against them: `payoff_against_co_players`, `cooperation_against_co_players`;
    `exploitation_of_co_players` and `exploitation_by_co_players`, shares of rounds in which the learner alone defects
    and in which the co-player alone does.
    """

    argument = "game"
    Parameters = IteratedGameParameters

    @classmethod
    def examples(cls) -> list[AnyParameters]:
        fixed = (0.9, 0.8, 0.1, 0.6, 0.2)
        return [
            IteratedGameParameters(rounds=5),
            IteratedGameParameters(game="stag_hunt", rounds=4, opponents="mixed"),
            IteratedGameParameters(game="chicken", rounds=1, opponents="mixed", identity=True, agents=8),
            IteratedGameParameters(rounds=4, opponents="co_players", co_player="tit_for_tat", agents=1),
            IteratedGameParameters(rounds=4, opponents="co_players", co_player_probabilities=fixed),
        ]

    def __init__(self, parameters: IteratedGameParameters, rows: int, device: torch.device) -> None:
        assert parameters.agents is not None
        self.agents, self.rounds = parameters.agents, parameters.rounds
        self.identity, self.co_player = parameters.identity, parameters.co_player
        # Those who meet each other, in pairs.
        self.paired = {"learners": self.agents, "co_players": 0, "mixed": self.agents // 2}[
            parameters.opponents
        ]
        names = tuple(f"agent_{agent}" for agent in range(self.agents))
        metrics = ["payoff_mean", *(f"payoff_{name}" for name in names)]
        if self.paired:
            metrics += ["cooperation_level", "mutual_cooperation", "mutual_defection", "exploitation"]
        if self.paired < self.agents:
            metrics += ["payoff_against_co_players", "cooperation_against_co_players"]
            metrics += ["exploitation_of_co_players", "exploitation_by_co_players"]
        features = EVENTS + self.identity
        self.specification = EnvironmentSpecification(
            agents=names,
            observation_size=features,
            state_size=self.agents * features,
            action=Discrete(2),
            metrics=tuple(metrics),
            episode_limit=self.rounds,
            features=("CC", "CD", "DC", "DD", "start", *(["against_co_player"] if self.identity else [])),
        )
        super().__init__(parameters, rows, device)
        self.limit_terminates = self.rounds == 1
        stage = GAMES[parameters.game].stages[0]
        if parameters.payoffs is not None:
            stage = dilemma(*parameters.payoffs)
        self.stage = stage
        self._payoff = torch.tensor(
            [pair[0] for line in stage for pair in line], dtype=torch.float32, device=device
        )
        self._one_hot = torch.eye(EVENTS, device=device)
        rule = self._rule(parameters)
        self._probability = None if rule is None else rule.to(device)
        self._draws = torch.zeros(rows, self.agents, 0, device=device)
        self._drawn_events: dict[int, list[int]] = {}

    def _rule(self, parameters: IteratedGameParameters) -> Tensor | None:
        """The co-players' probability of C after each event in the learner's view, [event]; None where it is drawn."""
        match parameters.co_player:
            case "tabular":
                fixed = parameters.co_player_probabilities
                return None if fixed is None else co_players.tabular(fixed)
            case "tit_for_tat":
                action = co_players.tit_for_tat(2)
            case "win_stay_lose_shift":
                action = co_players.win_stay_lose_shift(self.stage)
            case _:
                action = co_players.constant(2, int(parameters.co_player == "always_defect"))
        return 1.0 - action.to(torch.float32)

    def start(self, keys: Tensor) -> dict[str, Tensor]:
        rows, shape = keys.shape[0], (keys.shape[0], self.agents)
        places = torch.arange(self.agents, device=keys.device)
        order = uniform(derive(keys, 0), self.agents).sort(dim=1, stable=True).indices
        # In the drawn order, first meets second, third meets fourth; the last ones meet co-players.
        partner = order.gather(1, (places ^ 1).clamp(max=self.agents - 1).expand(shape))
        memory = {
            "partner": torch.empty_like(order).scatter_(1, order, partner),
            "paired": torch.empty(shape, dtype=torch.bool, device=keys.device).scatter_(
                1, order, (places < self.paired).expand(shape)
            ),
            "event": torch.full(shape, START, device=keys.device),
            "counts": torch.zeros(rows, self.agents, EVENTS, device=keys.device),
        }
        if self.paired < self.agents:
            memory["key"] = derive(keys, 1)
            memory["probability"] = (
                co_players.order_by_event(uniform(derive(keys, 2), self.agents * 5).view(rows, -1, 5))
                if self._probability is None
                else self._probability.expand(rows, self.agents, -1)
            )
        return memory

    def restore(self) -> None:
        if "key" in self.memory:
            drawn = uniform(self.memory["key"], self.agents * self.rounds)
            self._draws = drawn.view(-1, self.rounds, self.agents)

    def advance(self, action: Tensor) -> tuple[Tensor, Tensor | None]:
        memory = self.memory
        event = memory["event"]
        other = action.gather(1, memory["partner"])
        if self.paired < self.agents:
            assert self._lockstep is not None
            cooperates = memory["probability"].gather(2, event.unsqueeze(2)).squeeze(2)
            drawn = (self._draws[:, self._lockstep] >= cooperates).to(torch.int64)
            other = torch.where(memory["paired"], other, drawn)
        event = torch.add(other, action, alpha=2)
        memory["event"] = event
        memory["counts"] = memory["counts"] + self._one_hot[event]
        return self._payoff[event], None

    def observe(self) -> tuple[Tensor, Tensor]:
        observation = self._one_hot[self.memory["event"]]
        if self.identity:
            strange = (~self.memory["paired"]).to(torch.float32)
            observation = torch.cat([observation, strange.unsqueeze(2)], 2)
        return observation, observation.flatten(1)

    def measure(self) -> dict[str, Tensor]:
        # [row, agent, event] -> shares of the rounds of each agent's game.
        shares = self.memory["counts"][..., :START] / self.rounds
        payoffs = shares @ self._payoff
        measures = {"payoff_mean": payoffs.mean(1)}
        measures |= {
            f"payoff_{name}": payoffs[:, agent] for agent, name in enumerate(self.specification.agents)
        }
        paired = self.memory["paired"].to(torch.float32)
        if self.paired:
            both, first, second, neither = self._mean_over(shares, paired, self.paired)
            measures |= {
                "cooperation_level": both + first,
                "mutual_cooperation": both,
                "mutual_defection": neither,
                "exploitation": first + second,
            }
        if self.paired < self.agents:
            alone = self.agents - self.paired
            both, first, second, neither = self._mean_over(shares, 1.0 - paired, alone)
            measures |= {
                "payoff_against_co_players": (payoffs * (1.0 - paired)).sum(1) / alone,
                "cooperation_against_co_players": both + first,
                "exploitation_of_co_players": second,
                "exploitation_by_co_players": first,
            }
        return measures

    @staticmethod
    def _mean_over(shares: Tensor, chosen: Tensor, count: int) -> tuple[Tensor, ...]:
        """Shares of CC, CD, DC, DD, [row] each, averaged over the chosen agents, float [row, agent]."""
        return ((shares * chosen.unsqueeze(2)).sum(1) / count).unbind(1)

    def record(self, row: int) -> Callable[[], NDArray[np.uint8]]:
        # A picture shows the joint actions of all that were drawn before it.
        picture = self.render(row)
        return lambda: picture

    def draw(self, memory: dict[str, Tensor], row: int) -> NDArray[np.uint8]:
        """The game of the first agent."""
        from marlbench.environments.matrix_games.drawing import draw_game

        event = int(memory["event"][0])
        if event == START or row not in self._drawn_events:
            self._drawn_events[row] = []
        if event != START:
            self._drawn_events[row].append(event)
        events = self._drawn_events[row]
        pairs = [pair for line in self.stage for pair in line]
        joint = [divmod(one, 2) for one in events]
        opponent = f"agent_{int(memory['partner'][0])}" if bool(memory["paired"][0]) else self.co_player
        return draw_game(
            self.stage,
            ("C", "D"),
            ("agent_0", opponent.replace("_", " ")),
            joint[-1] if joint else None,
            (sum(pairs[one][0] for one in events), sum(pairs[one][1] for one in events)),
            (len(events), self.rounds),
            joint,
        )
