"""A row of the `sc2` backend: one game, replaced whenever it is lost; runs in a worker of its own."""

from __future__ import annotations

import sys
from copy import deepcopy

import numpy as np
from numpy.typing import NDArray

from marlbench.adapters.games import Rules
from marlbench.adapters.row import WritingRow
from marlbench.adapters.sc2.game import Game, GameLost, Outcome
from marlbench.adapters.sc2.watch import Watch
from marlbench.adapters.spaces import Description
from marlbench.errors import ConfigurationError

# Starts of a game in succession, and episodes in succession, that may be lost before the row gives up.
MOST_STARTS, MOST_LOST = 3, 10


class BattleRow(WritingRow):
    """Plays `rules.kwargs`, the arguments of `Game`.

    An episode whose game is lost ends as truncated and dropped, without reward for the step that was lost; what was
    seen last stands for its final observation. The next episode begins in a new game, whose rewards are divided by
    the same number as those before: the one number that the row keeps.
    """

    def __init__(self, rules: Rules) -> None:
        self._game: Game | None = None
        self._watch = Watch(rules.kwargs["patience"])
        game = self._game = self._new_game(rules)
        super().__init__(
            rules,
            Description(
                agents=tuple(f"ally_{ally}" for ally in range(game.agents)),
                observation_sizes=(game.observation_size,) * game.agents,
                image=None,
                beside=0,
                channels="last",
                types=(0,) * game.agents,
                action_counts=(game.actions,) * game.agents,
                actions_range=None,
                state_size=game.state_size,
                masks=True,
                turns=False,
                metrics=("win_rate", "dead_allies", "dead_enemies", "lost_games"),
                drops=True,
                kept=1,
            ),
        )
        self._outcome: Outcome | None = None
        self._lost_games = self._lost_in_succession = 0

    def _new_game(self, rules: Rules) -> Game:
        assert rules.episode_limit is not None
        # The packages write into their arguments.
        arguments = deepcopy(rules.kwargs["arguments"])
        return Game(rules.id, arguments, rules.kwargs["fix_obs"], self._watch, rules.episode_limit)

    def start(self, seed: int) -> None:
        for _ in range(MOST_STARTS):
            game = self._game = self._game or self._new_game(self.rules)
            try:
                observations, state = game.reset(seed)
                self._keep_scale(game)
                self._show(game.available(), observations, state)
            except GameLost as error:
                self._lose(error)
                cause = error
            else:
                return
        raise GameLost(
            f"{MOST_STARTS} games in succession were lost at the start of an episode; at last: {cause}"
        )

    def _keep_scale(self, game: Game) -> None:
        kept = self._arrays["kept"]
        if kept[0]:
            game.scale = float(kept[0])
        else:
            kept[0] = game.scale

    def advance(self) -> bool:
        arrays, game = self._arrays, self._game
        assert game is not None
        self._whole["dropped"][self._row] = False
        try:
            outcome = game.step(arrays["action"].tolist())
            self._show(game.available(), *game.look())
        except GameLost as error:
            self._lose(error)
            self._lost_in_succession += 1
            if self._lost_in_succession > MOST_LOST:
                raise GameLost(
                    f"more than {MOST_LOST} games in succession were lost; at last: {error}"
                ) from error
            self._outcome = None
            arrays["reward"][:] = 0.0
            arrays["terminated"][:] = False
            arrays["truncated"][:] = True
            self._whole["dropped"][self._row] = True
            return True
        arrays["reward"][:] = outcome.reward
        arrays["terminated"][:] = outcome.over and not outcome.limit
        arrays["truncated"][:] = outcome.limit
        self._outcome = outcome
        return outcome.over

    def measure(self) -> list[float]:
        lost = float(self._lost_games)
        if self._outcome is None:
            return [0.0, 0.0, 0.0, lost]
        self._lost_games = self._lost_in_succession = 0
        return [float(self._outcome.won), self._outcome.dead_allies, self._outcome.dead_enemies, lost]

    def _show(
        self, available: list[list[int]], observations: list[NDArray[np.float32]], state: NDArray[np.float32]
    ) -> None:
        # All of it was asked for before: what cannot be shown is lost, and the arrays hold what was seen before.
        arrays = self._arrays
        arrays["observation"][:] = observations
        arrays["state"][:] = state
        arrays["available_actions"][:] = available

    def _lose(self, error: GameLost) -> None:
        print(f"row {self._row}: a game was lost, another is started: {error}", file=sys.stderr, flush=True)
        self._lost_games += 1
        if self._game is not None:
            self._game.close()
        self._game = None

    def render(self) -> NDArray[np.uint8]:
        raise ConfigurationError(
            "the game is played without pictures.", hint="The backend `builtin` draws battles."
        )

    def close(self) -> None:
        self._watch.close()
        if self._game is not None:
            self._game.close()
            self._game = None
