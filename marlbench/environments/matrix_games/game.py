"""Matrix games of two players as one table lookup a round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
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
from marlbench.environments.matrix_games.games import GAMES, PENALTY, Game, penalty_game
from marlbench.environments.simulator import TensorSimulator


class MatrixGameParameters(contract.Parameters):
    """What is played, what the players see, and who sits in the second seat. See `MatrixGame`."""

    game: Literal["prisoners_dilemma", "stag_hunt", "chicken", "climbing", "penalty", "two_step"] = Field(
        default="prisoners_dilemma", description="which payoffs"
    )
    rounds: int | None = Field(
        default=None, ge=1, le=10_000, description="rounds of an episode; the game's usual number by default"
    )
    memory: Literal[0, 1] | None = Field(
        default=None,
        description="1: players observe the joint action before, in their own view; 0: they observe nothing",
    )
    agent_identity: bool = Field(
        default=False, description="append a one-hot of the agent to its observation"
    )
    payoffs: tuple[tuple[tuple[FiniteFloat, FiniteFloat], ...], ...] | None = Field(
        default=None,
        description="other payoffs: [first's action][second's action] -> [first's payoff, second's payoff]",
    )
    penalty: FiniteFloat | None = Field(default=None, le=0, description="k of the penalty game")
    co_player: Literal["none", "constant", "tit_for_tat", "win_stay_lose_shift", "tabular"] = Field(
        default="none", description="who plays second: a learner, or one of the fixed rules"
    )
    co_player_action: int | None = Field(
        default=None, ge=0, description="the action of the constant co-player"
    )
    co_player_probabilities: tuple[float, float, float, float, float] | None = Field(
        default=None,
        description="of action 0, for the tabular co-player: at the start, then after 00, 01, 10, 11, its "
        "own action first; without them, each episode draws its own, uniformly from [0, 1]",
    )

    @model_validator(mode="after")
    def _usual_values(self) -> MatrixGameParameters:
        """Fill what is left out with what is usual for the game, so that the resolved parameters show it."""
        game = GAMES[self.game]
        usual: dict[str, object] = {"rounds": game.rounds, "memory": int(game.memory)}
        if self.game == "penalty" and self.payoffs is None:
            usual["penalty"] = PENALTY
        if self.co_player == "constant":
            usual["co_player_action"] = 0
        # The model is frozen for everybody else.
        self.__dict__.update({name: value for name, value in usual.items() if getattr(self, name) is None})
        return self

    @model_validator(mode="after")
    def _consistent(self) -> MatrixGameParameters:
        game = GAMES[self.game]
        if self.payoffs is not None:
            if game.successors:
                raise ValueError(f"the payoffs of {self.game}, a game in stages, cannot be given")
            if [len(line) for line in self.payoffs] != [game.actions] * game.actions:
                raise ValueError(f"payoffs of {self.game} are {game.actions} lines of {game.actions} pairs")
        if self.penalty is not None and (self.game != "penalty" or self.payoffs is not None):
            raise ValueError("penalty is a parameter of the game 'penalty' with its own payoffs only")
        if game.successors:
            if self.rounds != game.rounds:
                raise ValueError(f"{self.game} always lasts {game.rounds} rounds")
            if self.memory:
                raise ValueError(f"players of {self.game} observe its stage; memory must be 0")
            if self.co_player != "none":
                raise ValueError(f"{self.game} has no co-players")
        if self.agent_identity and self.co_player != "none":
            raise ValueError("agent_identity tells two learners apart; with a co-player there is one")
        if self.co_player in ("win_stay_lose_shift", "tabular") and game.actions != 2:
            raise ValueError(f"co_player {self.co_player} knows two actions; {self.game} has {game.actions}")
        if self.co_player_action is not None:
            if self.co_player != "constant":
                raise ValueError("co_player_action belongs to co_player 'constant'")
            if self.co_player_action >= game.actions:
                raise ValueError(f"co_player_action is at most {game.actions - 1} in {self.game}")
        if self.co_player_probabilities is not None:
            if self.co_player != "tabular":
                raise ValueError("co_player_probabilities belong to co_player 'tabular'")
            if not all(0 <= probability <= 1 for probability in self.co_player_probabilities):
                raise ValueError("co_player_probabilities lie in [0, 1]")
        return self

    def resolve(self) -> Game:
        """The game with the payoffs that these parameters give it."""
        game = GAMES[self.game]
        if self.payoffs is not None:
            return replace(game, stages=(self.payoffs,))
        if self.penalty is not None:
            return replace(game, stages=(penalty_game(self.penalty),))
        return game


class MatrixGame(TensorSimulator):
    """Two players choose at once and are paid by a matrix, for a number of rounds.

    Observation with memory: one-hot of the joint action before, own action first (`own * actions + other's`),
    or of the start, which comes last. Without memory: the constant 1. In a game of stages: one-hot of the
    stage. With `agent_identity`, a one-hot of the agent follows. State: the first player's observation
    without its identity.

    A repeated game is cut after its rounds (truncated: players cannot see the end coming); a game in stages
    and a game of a single round are over then (terminated).

    With a co-player the second seat is part of the environment, and there is one agent. What it draws at
    random depends on the row's key, the episode and the round alone.

    Metrics: `payoff_mean`, a round's payoff averaged over rounds and agents; in dilemmas `cooperation_rate`,
    the share of action 0 among the agents' actions; in other repeated games `optimum_rate`, the share of
    rounds with the largest sum of payoffs; with a co-player also `co_player_payoff_mean` and
    `co_player_cooperation_rate`.
    """

    argument = "game"
    Parameters = MatrixGameParameters

    @classmethod
    def examples(cls) -> list[AnyParameters]:
        fixed = (0.9, 0.8, 0.1, 0.6, 0.2)
        return [
            MatrixGameParameters(game="prisoners_dilemma", rounds=5),
            MatrixGameParameters(game="stag_hunt", rounds=3, memory=0, agent_identity=True),
            MatrixGameParameters(game="chicken", rounds=1),
            MatrixGameParameters(game="climbing", rounds=4),
            MatrixGameParameters(game="penalty", rounds=4, memory=1),
            MatrixGameParameters(game="two_step"),
            MatrixGameParameters(rounds=4, co_player="tit_for_tat"),
            MatrixGameParameters(rounds=4, co_player="tabular", co_player_probabilities=fixed),
            MatrixGameParameters(rounds=4, co_player="tabular"),
        ]

    def __init__(self, parameters: MatrixGameParameters, rows: int, device: torch.device) -> None:
        game = parameters.resolve()
        rounds = parameters.rounds
        assert rounds is not None
        actions, learners = game.actions, 2 if parameters.co_player == "none" else 1
        self._actions, self._rounds, self._learners = actions, rounds, learners
        self._game, self._co_player_name = game, parameters.co_player
        self._drawn_events: dict[int, list[int]] = {}
        # An event is a cell of a stage's matrix, or the start, which comes last.
        self._start = len(game.stages) * actions * actions
        views = self._views(game, bool(parameters.memory), parameters.agent_identity)
        measures = self._measures(game)
        self.specification = EnvironmentSpecification(
            agents=tuple(f"agent_{agent}" for agent in range(learners)),
            observation_size=views.shape[2],
            state_size=views.shape[2] - (2 if parameters.agent_identity else 0),
            action=Discrete(actions),
            metrics=tuple(measures),
            episode_limit=rounds,
        )
        super().__init__(parameters, rows, device)
        self.limit_terminates = bool(game.successors) or rounds == 1

        self._view_of_event = views[:, :learners].contiguous().to(device)
        self._state_of_event = views[:, 0, : self.specification.state_size].contiguous().to(device)
        payoffs = torch.tensor(game.stages, dtype=torch.float32).view(self._start, 2)
        self._payoff_of_event = payoffs[:, :learners].contiguous().to(device)
        self._measures_of_event = torch.stack(list(measures.values()), dim=1).to(device)
        self._first_event_after = self._successors(game).to(device) if game.successors else None
        self._moves = self._rule(parameters, game).to(device) if learners == 1 else None
        self._draws_co_player = (
            parameters.co_player == "tabular" and parameters.co_player_probabilities is None
        )
        self._draws = torch.zeros(rows, 0, device=device)

    def _views(self, game: Game, memory: bool, agent_identity: bool) -> Tensor:
        """What each player observes after each event: [event, player, features], the start last."""
        cells = game.actions * game.actions
        if game.successors:
            stages = len(game.stages)
            following = [stage for table in game.successors for line in table for stage in line]
            seen = torch.tensor([stages if stage is None else stage for stage in [*following, 0]])
            # A game that is over shows no stage.
            views = torch.eye(stages + 1)[seen, :stages].unsqueeze(1).repeat(1, 2, 1)
        elif memory:
            transposed = torch.arange(cells).view(game.actions, game.actions).T.flatten()
            one_hot = torch.eye(cells + 1)
            views = torch.stack([one_hot, torch.cat([one_hot[transposed], one_hot[-1:]])], dim=1)
        else:
            views = torch.ones(cells + 1, 2, 1)
        if agent_identity:
            views = torch.cat([views, torch.eye(2).expand(len(views), 2, 2)], dim=2)
        return views

    def _measures(self, game: Game) -> dict[str, Tensor]:
        """What one event adds to each metric: name -> float64 [event], the start left out."""
        payoffs = torch.tensor(game.stages, dtype=torch.float64).view(self._start, 2)
        cells = torch.arange(self._start) % (game.actions * game.actions)
        action_0 = torch.stack([cells // game.actions, cells % game.actions], dim=1) == 0
        share = action_0.to(torch.float64)
        learners = self._learners
        measures = {"payoff_mean": payoffs[:, :learners].mean(1)}
        if game.dilemma:
            measures["cooperation_rate"] = share[:, :learners].mean(1)
        elif not game.successors:
            total = payoffs.sum(1)
            measures["optimum_rate"] = (total == total.max()).to(torch.float64)
        if learners == 1:
            measures["co_player_payoff_mean"] = payoffs[:, 1]
            if game.dilemma:
                measures["co_player_cooperation_rate"] = share[:, 1]
        return measures

    def _successors(self, game: Game) -> Tensor:
        """The first event of the stage that follows each event: int64 [event], the start last."""
        following = [stage for table in game.successors for line in table for stage in line]
        # Nothing is played after the end; the first stage stands in.
        stages = torch.tensor([stage or 0 for stage in [*following, 0]])
        return stages * game.actions * game.actions

    @staticmethod
    def _rule(parameters: MatrixGameParameters, game: Game) -> Tensor:
        """The co-player's rule, [event]: int64 actions, or float probabilities of action 0."""
        match parameters.co_player:
            case "constant":
                assert parameters.co_player_action is not None
                return co_players.constant(game.actions, parameters.co_player_action)
            case "tit_for_tat":
                return co_players.tit_for_tat(game.actions)
            case "win_stay_lose_shift":
                return co_players.win_stay_lose_shift(game.stages[0])
            case _:
                return co_players.tabular(parameters.co_player_probabilities or (0.5,) * 5)

    def start(self, keys: Tensor) -> dict[str, Tensor]:
        memory = {
            "event": torch.full_like(keys, self._start),
            "measures": torch.zeros(
                len(keys), len(self.specification.metrics), dtype=torch.float64, device=self.device
            ),
        }
        if self._moves is not None and self._moves.is_floating_point():
            memory["key"] = derive(keys, 0)
            memory["probability"] = self._moves.expand(len(keys), -1)
            if self._draws_co_player:
                memory["probability"] = co_players.order_by_event(uniform(derive(keys, 1), 5))
        return memory

    def restore(self) -> None:
        if "key" in self.memory:
            self._draws = uniform(self.memory["key"], self._rounds)

    def _co_player(self, moves: Tensor) -> Tensor:
        """The co-player's actions, int64 [row]."""
        event = self.memory["event"]
        if not moves.is_floating_point():
            return moves[event]
        assert self._lockstep is not None
        probability = self.memory["probability"].gather(1, event.unsqueeze(1)).squeeze(1)
        return (self._draws[:, self._lockstep] >= probability).to(torch.int64)

    def advance(self, action: Tensor) -> tuple[Tensor, Tensor | None]:
        second = action[:, 1] if self._moves is None else self._co_player(self._moves)
        event = torch.add(second, action[:, 0], alpha=self._actions)
        if self._first_event_after is not None:
            event += self._first_event_after[self.memory["event"]]
        self.memory["event"] = event
        self.memory["measures"] = self.memory["measures"] + torch.embedding(self._measures_of_event, event)
        return torch.embedding(self._payoff_of_event, event), None

    def observe(self) -> tuple[Tensor, Tensor]:
        event = self.memory["event"]
        return self._view_of_event[event], torch.embedding(self._state_of_event, event)

    def record(self, row: int) -> Callable[[], NDArray[np.uint8]]:
        # A picture shows the joint actions of all that were drawn before it.
        picture = self.render(row)
        return lambda: picture

    def draw(self, memory: dict[str, Tensor], row: int) -> NDArray[np.uint8]:
        from marlbench.environments.matrix_games.drawing import draw_game

        event, cells = int(memory["event"]), self._actions * self._actions
        if event == self._start or row not in self._drawn_events:
            self._drawn_events[row] = []
        if event != self._start:
            self._drawn_events[row].append(event)
        events = self._drawn_events[row]
        pairs = [pair for stage in self._game.stages for line in stage for pair in line]
        players = list(self.specification.agents)
        if self._learners == 1:
            players.append(self._co_player_name.replace("_", " "))
        joint = [divmod(one % cells, self._actions) for one in events]
        return draw_game(
            self._game.stages[event // cells if events else 0],
            ("C", "D") if self._game.dilemma else [str(action) for action in range(self._actions)],
            players,
            joint[-1] if joint else None,
            (sum(pairs[one][0] for one in events), sum(pairs[one][1] for one in events)),
            (len(events), self._rounds),
            joint,
        )

    def measure(self) -> dict[str, Tensor]:
        means = (self.memory["measures"] / self._rounds).to(torch.float32)
        return dict(zip(self.specification.metrics, means.unbind(1), strict=True))
