"""Commons Harvest: apples grow back the faster the more of them are left near by, and never where none is."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from marlbench.environments.contract import AnyParameters
from marlbench.environments.social_dilemmas.grids import layouts
from marlbench.environments.social_dilemmas.grids.rules import Layout, Rules, Window
from marlbench.environments.social_dilemmas.grids.world import GridParameters, GridWorld


class HarvestParameters(GridParameters):
    """See `Harvest`."""

    variant: Literal["melting_pot", "hughes"] = Field(
        default="melting_pot", description="whose map and numbers"
    )


class Harvest(GridWorld):
    """Janssen et al. 2010 as a game of agents on a grid (Perolat et al. 2017, arXiv 1707.06600).

    An apple pays 1 to who steps on it. It grows back with a probability for every step that depends on the apples at
    most two cells away: `melting_pot` [code of Melting Pot 2, commons_harvest__open] 0, .0025, .005, .025 with none,
    one, two, three or more, distances Euclidean; `hughes` [reimpl of Hughes et al. 2018, arXiv 1803.08884, by Vinitsky
    et al.] 0, .005, .02, .05, and of the cells around only the eight that touch. Apples do not grow under agents
    [reimpl; Melting Pot lets them].

    Actions: stay, forward, backward, step left, step right, turn left, turn right, zap. Agents move one after another
    in a random order, walls and others stop them, then they fire in that order. A beam has a ray of `beam_length` cells
    ahead and one on either side, as long, from the cell beside the agent on; walls and the first agent hit stop a ray.

    | | melting_pot | hughes |
    |---|---|---|
    | agents | 7 | 5 |
    | beam length | 3 | 5 |
    | steps between zaps | 2 | 0 |
    | who is hit | is out for 4 steps | pays 50 |
    | who fires | pays nothing | pays 1 |
    | window | 9 ahead, 1 behind, 5 to either side | 7 to every side |

    An episode is cut after `length` steps (truncated) [Melting Pot ends episodes at random after 1,000].

    Observation: the picture of the window turned as one looks, planes `PLANES`, then whether one is in the game and
    how nearly ready the beam is; zeros while one is out. State: apples at their places, then of each agent whether it
    is in the game, its row and column, where it faces, its waits.

    Metrics: `efficiency` (apples of all less fines, a step), `equality` (of apples), `sustainability`, `peace`, see
    `measures`; `apples_mean` and `zaps_mean`, an agent's apples and zaps.
    """

    argument = "variant"
    Parameters = HarvestParameters
    PLANES = ("wall", "apple", "facing_alike", "facing_right", "facing_opposite", "facing_left", "zap_beam")
    river = False
    ripe = True

    @classmethod
    def examples(cls) -> list[AnyParameters]:
        return [HarvestParameters(length=5), HarvestParameters(variant="hughes", agents=3, length=6)]

    def __init__(self, parameters: HarvestParameters, rows: int, device: torch.device) -> None:
        hughes = parameters.variant == "hughes"
        self.window = Window(7, 7, 7, 7) if hughes else Window(left=5, right=5, ahead=9, behind=1)
        text = layouts.HARVEST_HUGHES if hughes else layouts.HARVEST_MELTING_POT
        self.layout = Layout(text, self.window.reach)
        self.rules = Rules(
            width=self.layout.width,
            beam_length=5 if hughes else 3,
            beam_radius=1,
            zap_wait=0 if hughes else 2,
            clean_wait=0,
            agents_stop_cleaning=True,
            **parameters.punishment(time_out=0 if hughes else 4, zap_cost=float(hughes), fine=50.0 * hughes),
        )
        chances = [0.0, 0.005, 0.02, 0.05] if hughes else [0.0, 0.0025, 0.005, 0.025]
        self._chances = np.array(chances, np.float32)
        self._disc = self.layout.disc(2 if hughes else 4)
        super().__init__(parameters, parameters.agents or (5 if hughes else 7), 8, rows, device)

    def play(self, action: NDArray[np.int64], reward: NDArray[np.float32], rows: tuple[Any, ...]) -> None:
        from marlbench.environments.social_dilemmas.grids.dynamics import play_harvest

        layout = self.layout
        play_harvest(
            action,
            *rows,
            reward,
            layout.spawns,
            layout.apples,
            self._disc,
            self._chances,
            self._steps,
            self.rules,
        )
