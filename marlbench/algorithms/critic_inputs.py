"""What a critic that is used in training alone may see: more than the agent that acts."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from marlbench.algorithms.agent_identity import AgentIdentity
from marlbench.algorithms.networks import Image
from marlbench.environments.contract import EnvironmentSpecification
from marlbench.errors import ConfigurationError

CentralInput = Literal["state", "state_and_observation", "observations", "team_state"]
"""The global state; the agent's own observation followed by the state; the observations of all agents; the global state
and nothing of who asks, so that one value is that of all agents that share parameters."""

CriticInput = Literal["observation"] | CentralInput


class CriticInputs:
    """Features of a critic, one vector for each agent.

    A central critic sees zeros and the agent's identity in place of an agent that does not act: "death masking" (Yu et
    al. 2022, arXiv 2103.01955, section 3), so that what a dead agent is worth does not disturb the living.

    Args:
        sees: what the critic is given.
        specification: of the task.
        identity: appends who the agent is; not to what a team has in common.

    Raises:
        ConfigurationError: `observations` of images; `team_state` where agents skip steps.

    Attributes:
        central: whether it sees more than the agent's own observation.
        common: whether it sees the same for all agents, and is asked once for all of them.
        uses_state: whether the global state is needed.
        image: of the features; None where they are a vector.
        size: features.
    """

    def __init__(
        self, sees: CriticInput, specification: EnvironmentSpecification, identity: AgentIdentity
    ) -> None:
        self.sees, self.identity = sees, identity
        self.central = sees != "observation"
        self.uses_state = sees in ("state", "state_and_observation", "team_state")
        self.common = sees == "team_state"
        if self.common and specification.skips_steps:
            raise ConfigurationError(
                "critic_input: team_state values what the whole team gets from step to step, and in this task agents "
                "skip steps.",
                hint="Use `critic_input: state`.",
            )
        observation, state = specification.observation_size, specification.state_size
        sizes = {
            "observation": observation,
            "state": state,
            "state_and_observation": observation + state,
            "observations": len(specification.agents) * observation,
            "team_state": state,
        }
        self.size = sizes[sees] + (0 if self.common else identity.size)
        self.image: Image | None = None
        if sees in ("observation", "state_and_observation"):
            self.image = specification.image
        elif sees == "observations" and specification.image is not None:
            raise ConfigurationError(
                "critic_input: observations side by side are no image, and this task's observations are images.",
                hint="Use `critic_input: state_and_observation`, or `state`.",
            )

    def __call__(self, observation: Tensor, state: Tensor | None, acting: Tensor | None) -> Tensor:
        """The critic's features.

        Args:
            observation: [..., agent, features].
            state: [..., features]; None where it is not used.
            acting: bool [..., agent]; None where every agent acts at every step.

        Returns:
            [..., agent, size]; [..., 1, size] where the features are common to all agents.
        """
        if not self.central:
            return self.identity(observation)
        if self.common:
            assert state is not None
            return state.unsqueeze(-2)
        if self.sees == "observations":
            shared = observation.flatten(-2)
        else:
            assert state is not None
            shared = state
        features = shared.unsqueeze(-2).expand(*observation.shape[:-1], shared.shape[-1])
        if self.sees == "state_and_observation":
            features = torch.cat([observation, features], -1)
        if acting is not None:
            features = features.masked_fill(~acting.unsqueeze(-1), 0.0)
        return self.identity(features)
