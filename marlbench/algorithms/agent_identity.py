"""Who an agent is, told to networks that several agents share."""

from __future__ import annotations

import torch
from torch import Tensor

from marlbench.algorithms.sharing import Sharing


class AgentIdentity:
    """Appends a one-hot of the agent to features, where asked for and where a learner has more than one agent.

    A learner of one agent alone has nothing to tell apart, so nothing is appended for it.

    Args:
        asked: the hyperparameter `agent_identity`.
        sharing: of the agents among learners.
        device: where features live.

    Attributes:
        size: features that are appended: 0 or the number of agents.
    """

    def __init__(self, asked: bool, sharing: Sharing, device: torch.device) -> None:
        self.size = sharing.agents if asked and sharing.group_size > 1 else 0
        self._one_hot = torch.eye(sharing.agents, device=device)

    def __call__(self, features: Tensor) -> Tensor:
        """[..., agent, features] -> [..., agent, features + size]."""
        if not self.size:
            return features
        return torch.cat([features, self._one_hot.expand(*features.shape[:-1], -1)], -1)
