"""Folding agents into the stack: a bijection for real agents, and copies that weigh nothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from marlbench.algorithms.sharing import Common, Groups, Sharing, SharingOption
from marlbench.errors import ConfigurationError

CPU = torch.device("cpu")


@st.composite
def options(draw: st.DrawFn) -> tuple[SharingOption, int]:
    agents = draw(st.integers(1, 7))
    kind = draw(st.sampled_from(["shared", "independent", "groups"]))
    if kind == "groups":
        return Groups(groups=draw(st.integers(1, agents))), agents
    return kind, agents  # type: ignore[return-value]


@given(options(), st.integers(1, 3), st.integers(1, 4))
def test_unfold_undoes_fold(option: tuple[SharingOption, int], members: int, rows: int) -> None:
    sharing = Sharing(option[0], option[1], CPU)
    values = torch.arange(members * rows * option[1] * 2).view(members, rows, option[1], 2).float()
    folded = sharing.fold(values)
    assert folded.shape[0] == members * sharing.groups
    assert torch.equal(sharing.unfold(folded, (rows,)), values)


@given(options(), st.integers(1, 3), st.integers(1, 4))
def test_every_agent_reaches_its_own_learner_once(
    option: tuple[SharingOption, int], members: int, rows: int
) -> None:
    sharing = Sharing(option[0], option[1], CPU)
    marks = torch.arange(members).view(-1, 1, 1, 1) * 100 + torch.arange(option[1]).view(1, 1, -1, 1)
    folded = sharing.fold(marks.expand(members, rows, option[1], 1)).squeeze(-1)
    weight = sharing.sample_weight(members, folded.shape[1])
    weight = torch.ones_like(folded) if weight is None else weight
    seen: dict[int, int] = {}
    for learner in range(folded.shape[0]):
        for mark, weighs in zip(folded[learner].tolist(), weight[learner].tolist(), strict=True):
            if weighs:
                agent = int(mark) % 100
                assert learner == (int(mark) // 100) * sharing.groups + sharing.group_of(agent)
                seen[int(mark)] = seen.get(int(mark), 0) + 1
    assert seen == {100 * m + a: rows for m in range(members) for a in range(option[1])}


@given(options(), st.integers(1, 3), st.integers(1, 4))
def test_what_agents_have_in_common_is_the_mean_of_their_learner(
    option: tuple[SharingOption, int], members: int, rows: int
) -> None:
    sharing = Sharing(option[0], option[1], CPU)
    common, agents = Common(sharing), option[1]
    values = torch.randn(members, rows, agents, 2, generator=torch.Generator().manual_seed(agents))
    folded = common.fold(values)
    assert folded.shape == (members * sharing.groups, rows, 2)
    given_back = common.unfold(folded, (rows,))
    for agent in range(agents):
        group = sharing.group_of(agent)
        team = [other for other in range(agents) if sharing.group_of(other) == group]
        mean = values[:, :, team].mean(2)
        torch.testing.assert_close(given_back[:, :, agent], mean)
        torch.testing.assert_close(folded.view(members, sharing.groups, rows, 2)[:, group], mean)
    # An axis of one stands for all agents.
    alike = values[:, :, :1]
    torch.testing.assert_close(common.fold(alike), common.fold(alike.expand_as(values)))


def test_group_sizes_differ_by_one_at_most() -> None:
    sharing = Sharing(Groups(groups=3), 7, CPU)
    assert [sharing.group_of(agent) for agent in range(7)] == [0, 0, 0, 1, 1, 2, 2]


def test_more_groups_than_agents_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="groups: 4 is more than the task's 3 agents"):
        Sharing(Groups(groups=4), 3, CPU)
