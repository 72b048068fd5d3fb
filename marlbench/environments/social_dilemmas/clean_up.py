"""Clean Up: apples grow only where a river is kept clean, which takes agents away from the apples."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from marlbench.environments.contract import AnyParameters
from marlbench.environments.social_dilemmas.grids import layouts
from marlbench.environments.social_dilemmas.grids.rules import CLEANED, Layout, Rules, Window
from marlbench.environments.social_dilemmas.grids.world import GridParameters, GridWorld

# Share of the river under waste at which nothing grows, and at which apples grow at their most (both variants).
DEPLETION = 0.4
RESTORATION = 0.0
GROWTH = 0.05
POLLUTION = 0.5


class CleanUpParameters(GridParameters):
    """See `CleanUp`."""

    variant: Literal["melting_pot", "hughes"] = Field(
        default="melting_pot", description="whose map and numbers"
    )


class CleanUp(GridWorld):
    """The public good of Hughes et al. 2018 (arXiv 1803.08884).

    An apple pays 1 to who steps on it. With a share d of the river under waste, each place without an apple grows one
    with probability .05 min(1, (.4 - d) / .4) in a step, so not at all from d = .4 on; not under agents [reimpl;
    Melting Pot lets them]. Waste comes one cell at a time: `melting_pot` [code of Melting Pot 2, clean_up] with
    probability .5 in a step, on a clean cell drawn uniformly, after the first 50 steps; `hughes` [reimpl by Vinitsky et
    al.] clean cells are tried in a random order, each with probability .5, until one is covered, while d < .4. The
    cleaning beam, shaped as that of `Harvest`, removes the first waste that each of its rays meets; agents stop it in
    `hughes` only.

    Actions: those of `Harvest`, then cleaning. Agents walk through the river.

    | | melting_pot | hughes |
    |---|---|---|
    | agents | 7 | 5 |
    | beam length | 3 | 5 |
    | steps between zaps, between cleaning beams | 10, 2 | 0, 0 |
    | who is hit | is out for 50 steps | pays 50 |
    | who fires | pays nothing | pays 1; cleaning is free |
    | window | 9 ahead, 1 behind, 5 to either side | 7 to every side |

    Observation and state: as `Harvest`, with the river, waste and cleaning beams.

    Metrics: those of `Harvest`; `cleaned_mean`, waste that an agent removed; `waste_share`, the share of the river
    under waste, averaged over steps.
    """

    argument = "variant"
    Parameters = CleanUpParameters
    PLANES = (
        *("wall", "apple", "facing_alike", "facing_right", "facing_opposite", "facing_left", "zap_beam"),
        *("river", "waste", "clean_beam"),
    )
    METRICS = (*GridWorld.METRICS, "cleaned_mean", "waste_share")
    river = True
    ripe = False

    @classmethod
    def examples(cls) -> list[AnyParameters]:
        return [CleanUpParameters(length=5), CleanUpParameters(variant="hughes", agents=3, length=6)]

    def __init__(self, parameters: CleanUpParameters, rows: int, device: torch.device) -> None:
        hughes = parameters.variant == "hughes"
        self.window = Window(7, 7, 7, 7) if hughes else Window(left=5, right=5, ahead=9, behind=1)
        text = layouts.CLEAN_UP_HUGHES if hughes else layouts.CLEAN_UP_MELTING_POT
        self.layout = Layout(text, self.window.reach)
        self.rules = Rules(
            width=self.layout.width,
            beam_length=5 if hughes else 3,
            beam_radius=1,
            zap_wait=0 if hughes else 10,
            clean_wait=0 if hughes else 2,
            agents_stop_cleaning=hughes,
            **parameters.punishment(time_out=0 if hughes else 50, zap_cost=float(hughes), fine=50.0 * hughes),
        )
        self._pollution = (POLLUTION, 0 if hughes else 50, hughes)
        super().__init__(parameters, parameters.agents or (5 if hughes else 7), 9, rows, device)

    def play(self, action: NDArray[np.int64], reward: NDArray[np.float32], rows: tuple[Any, ...]) -> None:
        from marlbench.environments.social_dilemmas.grids.dynamics import play_clean_up

        layout = self.layout
        play_clean_up(
            action, *rows, reward, layout.spawns, layout.apples, layout.waste, (GROWTH, DEPLETION, RESTORATION),
            self._pollution, self.memory["covered"].numpy(), self._steps, self.rules,
        )  # fmt: skip

    def measure(self) -> dict[str, Tensor]:
        more = {
            "cleaned_mean": self.memory["sums"][:, :, CLEANED].mean(1),
            "waste_share": self.memory["covered"] / self.length,
        }
        return super().measure() | {name: value.to(self.device) for name, value in more.items()}
