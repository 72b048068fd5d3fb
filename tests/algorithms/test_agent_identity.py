"""Who an agent is, appended where it can matter."""

from __future__ import annotations

import pytest
import torch

from marlbench.algorithms.agent_identity import AgentIdentity
from marlbench.algorithms.sharing import Groups, Sharing

CPU = torch.device("cpu")


@pytest.mark.parametrize("option", ["shared", Groups(groups=2)])
def test_agents_of_one_learner_are_told_apart(option):
    identity = AgentIdentity(True, Sharing(option, 3, CPU), CPU)
    features = torch.randn(2, 5, 3, 4)
    found = identity(features)
    assert identity.size == 3
    assert found.shape == (2, 5, 3, 7)
    assert torch.equal(found[..., :4], features)
    assert torch.equal(found[1, 2, :, 4:], torch.eye(3))


@pytest.mark.parametrize(("asked", "option"), [(False, "shared"), (True, "independent")])
def test_nothing_is_appended_where_it_tells_nothing(asked, option):
    identity = AgentIdentity(asked, Sharing(option, 3, CPU), CPU)
    features = torch.randn(5, 3, 4)
    assert identity.size == 0
    assert identity(features) is features
