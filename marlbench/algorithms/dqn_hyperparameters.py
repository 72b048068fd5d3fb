"""Settings of DQN (arXiv 2601.05509): the defaults are the constants of the paper's code [code]."""

from __future__ import annotations

from pydantic import Field

from marlbench.algorithms.base import Hyperparameters
from marlbench.algorithms.sharing import SharingOption


class DQNHyperparameters(Hyperparameters):
    """Settings of DQN; the defaults are the paper's. Everything is scheduled in environment steps of one seed."""

    sharing: SharingOption = Field("shared", description="which agents share parameters")
    shuffled_groups: bool = Field(
        True, description="agents are dealt to groups at random, by the seed, instead of in blocks"
    )
    augmentation: bool = Field(
        False,
        description="append to observations how far the learning has come and how warm exploration is, in [0, 1]",
    )
    hidden: tuple[int, ...] = Field((96,), description="units of the hidden layers, with relu")
    learning_rate: float = Field(1e-4, gt=0, description="of AdamW")
    weight_decay: float = Field(1e-4, ge=0, description="of AdamW")
    huber_threshold: float = Field(1.0, gt=0, description="errors beyond it count linearly")
    maximum_gradient_norm: float = Field(0.5, gt=0, description="of one learner")
    discount: float = Field(0.99, ge=0, le=1, description="gamma")
    n_step: int = Field(5, ge=1, description="rewards summed before a target bootstraps")
    replay_transitions: int = Field(
        90_000, ge=1, description="transitions kept of all agents together: the last steps that hold them"
    )
    batch: int = Field(256, ge=1, description="transitions of single agents in an update of one learner")
    update_interval: int = Field(4, ge=1, description="environment steps between updates")
    target_interval: int = Field(2_000, ge=1, description="environment steps between copies to the target")
    temperature_start: float = Field(0.127, gt=0, description="tau at the first step")
    temperature_end: float = Field(0.1, gt=0, description="tau when learning ends, and from then on")
    learning_fraction: float = Field(
        0.95, gt=0, le=1, description="share of all steps over which tau falls and there is learning"
    )
