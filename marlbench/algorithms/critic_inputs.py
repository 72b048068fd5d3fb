"""What a critic that is used in training alone may see: more than the agent that acts."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from marlbench.algorithms.agent_identity import AgentIdentity
from marlbench.algorithms.networks import Image
from marlbench.environments.contract import EnvironmentSpecification
from marlbench.errors import ConfigurationError

CentralInput = Literal["state", "state_and_observation", "observations"]
"""The global state; the agent's own observation followed by the state; the observations of all agents."""

CriticInput = Literal["observation"] | CentralInput


class CriticInputs:
    """Features of a critic, one vector for each agent.

    A central critic sees zeros and the agent's identity in place of an agent that does not act: "death masking" (Yu et
    al. 2022, arXiv 2103.01955, section 3), so that what a dead agent is worth does not disturb the living.

    Args:
        sees: what the critic is given.
        specification: of the task.
        identity: appends who the agent is.

    Attributes:
        central: whether it sees more than the agent's own observation.
        uses_state: whether the global state is needed.
        image: of the features; None where they are a vector.
        size: features.
    """

    def __init__(
        self, sees: CriticInput, specification: EnvironmentSpecification, identity: AgentIdentity
    ) -> None:
        self.sees, self.identity = sees, identity
        self.central = sees != "observation"
        self.uses_state = sees in ("state", "state_and_observation")
        observation, state = specification.observation_size, specification.state_size
        sizes = {
            "observation": observation,
            "state": state,
            "state_and_observation": observation + state,
            "observations": len(specification.agents) * observation,
        }
        self.size = sizes[sees] + identity.size
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
            [..., agent, size].
        """
        if not self.central:
            return self.identity(observation)
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
