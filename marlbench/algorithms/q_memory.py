"""What value-based methods remember of every joint step, and how much memory they need."""

from __future__ import annotations

from marlbench.algorithms.base import Memory
from marlbench.algorithms.experience import Keep
from marlbench.algorithms.q_hyperparameters import QLearningHyperparameters
from marlbench.environments.contract import EnvironmentSpecification
from marlbench.training.storage import LARGE_BYTES


def kept_by(options: QLearningHyperparameters, team: bool, state: bool) -> Keep:
    """What is kept: `team` where transitions are the team's, `state` where a mixer looks at it."""
    recurrent = options.recurrent_units > 0
    return Keep(
        state=state,
        joint=team,
        precision=options.replay_dtype,
        # One element more, on which the last step's target bootstraps.
        sequence=options.burn_in + options.sequence_length + 1 if recurrent else None,
        memory_size=options.recurrent_units,
        prioritised=options.prioritised,
    )


def memory_of(
    specification: EnvironmentSpecification,
    options: QLearningHyperparameters,
    team: bool,
    rows: int,
    seeds: int,
    capacity: int,
) -> Memory:
    """Bytes of a job with so many `seeds` and a replay of `capacity` joint steps."""
    keep = kept_by(options, team, team)
    disk = keep.disk(specification, seeds, rows, capacity)
    samples = options.batch * seeds * (keep.sequence or 1)
    width = 2 * specification.observation_size + 6 * sum(options.hidden) + 24 * options.recurrent_units
    shared = 2 * specification.state_size if team else 0
    tree = 32 * options.replay_steps * seeds if options.prioritised else 0
    resident = 4 * samples * (width * len(specification.agents) + shared) + tree
    return Memory(resident=resident + min(disk, LARGE_BYTES), disk=disk)
