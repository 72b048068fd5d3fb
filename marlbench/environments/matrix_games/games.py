"""The payoffs of the matrix games and where they come from.

Labels of the sources: [paper] read in the paper or its abstract; [reimpl] read in somebody else's
re-implementation; [unverified] recalled from the paper, not checked against it.
"""

from __future__ import annotations

from dataclasses import dataclass

Payoffs = tuple[tuple[tuple[float, float], ...], ...]
"""[first player's action][second player's action] -> (first player's payoff, second player's)."""


@dataclass(frozen=True)
class Game:
    """A game of two players with equally many actions.

    Attributes:
        stages: the payoffs of each stage; the game begins in the first.
        successors: for each stage, indexed [first's action][second's action], the stage that follows; None
            ends the game. Empty for a game that repeats its only stage.
        rounds: length of an episode as it is usual for the game.
        memory: whether players usually observe the joint action before.
        dilemma: whether action 0 is to cooperate and action 1 to defect.
        source: where payoffs and lengths come from.
    """

    stages: tuple[Payoffs, ...]
    rounds: int
    source: str
    successors: tuple[tuple[tuple[int | None, ...], ...], ...] = ()
    memory: bool = False
    dilemma: bool = False

    @property
    def actions(self) -> int:
        """Actions of each player."""
        return len(self.stages[0])


def _common(*lines: tuple[float, ...]) -> Payoffs:
    """Payoffs that both players share."""
    return tuple(tuple((value, value) for value in line) for line in lines)


def dilemma(reward: float, sucker: float, temptation: float, punishment: float) -> Payoffs:
    """Symmetric payoffs of cooperating (action 0) and defecting (action 1)."""
    return (
        ((reward, reward), (sucker, temptation)),
        ((temptation, sucker), (punishment, punishment)),
    )


def penalty_game(penalty: float) -> Payoffs:
    """The penalty game of Claus and Boutilier 1998 with its parameter k = `penalty`."""
    return _common((10, 0, penalty), (0, 2, 0), (penalty, 0, 10))


PENALTY = -25.0
"""k of the penalty game where none is given: the EPyMARL paper reports it [unverified]."""

_LEIBO = (
    "Leibo et al. 2017 (arXiv 1702.03037), figure of the canonical matrix games [unverified]; 100 rounds and "
    "memory of one round as in arXiv 2602.16301 [paper]"
)
_CLAUS = (
    "Claus and Boutilier 1998, The dynamics of reinforcement learning in cooperative multiagent systems "
    "[reimpl]; 25 rounds and a constant observation as in the EPyMARL paper [unverified]"
)

GAMES: dict[str, Game] = {
    "prisoners_dilemma": Game(
        stages=(dilemma(reward=1, sucker=-1, temptation=2, punishment=0),),
        rounds=100,
        memory=True,
        dilemma=True,
        source="arXiv 2602.16301 [paper]",
    ),
    "stag_hunt": Game(
        stages=(dilemma(reward=4, sucker=0, temptation=3, punishment=1),),
        rounds=100,
        memory=True,
        dilemma=True,
        source=_LEIBO,
    ),
    "chicken": Game(
        stages=(dilemma(reward=3, sucker=1, temptation=4, punishment=0),),
        rounds=100,
        memory=True,
        dilemma=True,
        source=_LEIBO,
    ),
    "climbing": Game(
        stages=(_common((11, -30, 0), (-30, 7, 6), (0, 0, 5)),),
        rounds=25,
        source=_CLAUS,
    ),
    "penalty": Game(stages=(penalty_game(PENALTY),), rounds=25, source=_CLAUS),
    "two_step": Game(
        stages=(_common((0, 0), (0, 0)), _common((7, 7), (7, 7)), _common((0, 1), (1, 8))),
        successors=(((1, 1), (2, 2)), ((None, None), (None, None)), ((None, None), (None, None))),
        rounds=2,
        source="Rashid et al. 2018, QMIX (arXiv 1803.11485), section 5 [reimpl]",
    ),
}
