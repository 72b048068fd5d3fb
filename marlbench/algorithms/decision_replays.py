"""What an agent decided of late and what came of it, out of which transitions of single decisions are drawn.

`StepReplay` is for an agent that decides at every step and is paid at once; `DelayedReplay` for one that decides now
and then and is paid a fixed number of steps later. Rows are [stack x lane]; a lane is a row of one learner.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from marlbench.algorithms.recent_steps import RecentSteps
from marlbench.algorithms.storage_columns import Columns, PlacementReward
from marlbench.algorithms.value_heads import Lesson
from marlbench.environments.contract import Step

# How a step ended an episode: not, by a cut, for good.
CUT, TERMINATED = 1, 2


class StepReplay:
    """The last decisions of an agent that decides at every step.

    Args:
        capacity: decisions of each learner.
        n_step: rewards that are summed before the value of what follows counts; fewer where an episode ends.
        reward: what a request is paid for its outcome.
    """

    def __init__(
        self,
        stack: int,
        lanes: int,
        capacity: int,
        features: int,
        discount: float,
        n_step: int,
        reward: PlacementReward,
        device: torch.device,
    ) -> None:
        self.lanes, self.discount, self.n_step, self.reward = lanes, discount, n_step, reward
        slots = max(n_step, capacity // lanes)
        seen = ((features,), torch.float32)
        fields: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
            "observation": seen,
            "following": seen,
            "action": ((), torch.uint8),
            "outcome": ((reward.width,), torch.float32),
            "over": ((), torch.uint8),
        }
        self.steps = RecentSteps(stack, lanes, 1, slots, fields, device)
        self._member = torch.arange(stack, device=device).unsqueeze(1)
        # The ring's fields as `add` fills them.
        self._plain: dict[str, Any] = {}

    def add(self, before: Step, action: Tensor, following: Step, agent: int, columns: Columns) -> None:
        """Keep one step of every row: what an agent saw, its action of int64 [row, agent], and what came of it."""
        slot = self.steps.written % self.steps.capacity
        lead = (self.steps.members, self.lanes, 1)
        # Numpy's views of a few numbers cost a tenth of torch's.
        plain: Any = Tensor.numpy if action.device.type == "cpu" else Tensor.detach
        kept = self._plain = self._plain or {name: plain(value) for name, value in self.steps.values.items()}
        # What the ring holds is [stack, step, lane, agent, ...].
        for name, seen in (("observation", before.observation), ("following", following.final_observation)):
            kept[name][:, slot] = columns.of(plain(seen)[:, agent]).reshape(*lead, -1)
        kept["action"][:, slot] = plain(action)[:, agent].reshape(lead)
        outcome = self.reward.outcome(plain(following.reward), plain(following.final_observation))
        kept["outcome"][:, slot] = outcome.reshape(*lead, -1)
        kept["over"][:, slot] = 0
        if following.any_ended:
            terminated, truncated = following.terminated[:, agent], following.truncated[:, agent]
            over = torch.where(terminated, TERMINATED, torch.where(truncated, CUT, 0))
            self.steps.values["over"][:, slot] = over.view(lead).to(torch.uint8)
        self.steps.written += 1

    @property
    def count(self) -> int:
        """Decisions of each learner that are kept."""
        return self.steps.count * self.lanes

    def draw(self, uniform: Tensor) -> tuple[Lesson, None]:
        """Transitions, one for each uniform [stack, sample]; the second value is `DelayedReplay`'s."""
        replay, n = self.steps, self.n_step
        start = (uniform * ((replay.count - n + 1) * self.lanes)).to(torch.int64)
        place = replay.sequences(self._member, start, n)
        first = place[..., 0]
        if n == 1:
            reward, last = self.reward.of(replay.take("outcome", first)), first
            discount = torch.full_like(reward, self.discount)
        else:
            going = (replay.take("over", place[..., :-1]) == 0).to(torch.int64).cumprod(-1)
            paid = self.reward.of(replay.take("outcome", place))
            reward = paid[..., 0]
            for later in range(1, n):
                reward = reward + self.discount**later * going[..., later - 1] * paid[..., later]
            steps = going.sum(-1, keepdim=True)
            last = place.gather(-1, steps).squeeze(-1)
            discount = torch.pow(torch.tensor(self.discount), 1 + steps.squeeze(-1)).to(reward.dtype)
        lesson = Lesson(
            observation=replay.take("observation", first),
            action=replay.take("action", first).to(torch.int64),
            reward=reward,
            discount=discount.masked_fill(replay.take("over", last) == TERMINATED, 0.0),
            following=replay.take("following", last),
        )
        return lesson, None

    def state_dict(self) -> dict[str, Any]:
        return self.steps.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.steps.load_state_dict(state)
        self._plain = {}

    def forget_open(self) -> None:
        """The rows began fresh episodes: nothing leads from the newest step to the next."""
        newest = self.steps.values["over"][:, (self.steps.written - 1) % self.steps.capacity]
        newest.masked_fill_(newest == 0, CUT)

    @property
    def bytes(self) -> int:
        return sum(value.nbytes for value in self.steps.values.values())


class DelayedReplay:
    """The last decisions of an agent that skips steps and is paid `delay` steps after each.

    A transition leads to the agent's next decision, or to the end of the episode, and is drawn once both that and its
    reward are known. Decisions that the end of an episode leaves open are dropped.

    Attributes:
        made, followed, paid: decisions of each row so far, int64 [row]: all, and those of which it is known what came
            next and what they were paid; they become known in order.
    """

    _PARTS = (
        "observation",
        "following",
        "action",
        "reward",
        "terminated",
        "made",
        "followed",
        "paid",
        "decided",
    )

    def __init__(
        self,
        stack: int,
        lanes: int,
        capacity: int,
        features: int,
        discount: float,
        delay: int,
        device: torch.device,
    ) -> None:
        self.stack, self.lanes, self.discount, self.delay = stack, lanes, discount, delay
        self.kept = max(1, capacity // lanes)
        # Those that the end of an episode may drop have room of their own: what they overwrote is not drawn any more.
        self.slots = self.kept + delay + 1
        rows = stack * lanes
        self.observation = torch.zeros(rows, self.slots, features, device=device)
        self.following = torch.zeros_like(self.observation)
        self.reward = torch.zeros(rows, self.slots, device=device)
        self.action = torch.zeros(rows, self.slots, dtype=torch.uint8, device=device)
        self.terminated = torch.zeros(rows, self.slots, dtype=torch.bool, device=device)
        self.made, self.followed, self.paid = torch.zeros(3, rows, dtype=torch.int64, device=device).unbind()
        # Whether each row decided at the last `delay` steps.
        self.decided = torch.zeros(delay, rows, dtype=torch.bool, device=device)
        self.time = 0

    def add(
        self, observation: Tensor, action: Tensor, acting: Tensor, reward: Tensor, terminated: Tensor
    ) -> None:
        """One step: what was seen and decided, [row, ...], who decided, what was paid then, which episodes ended."""
        rows = acting.nonzero().squeeze(1)
        self.decided[self.time % self.delay] = acting
        if len(rows):
            made = self.made[rows]
            open_ = self.followed[rows] < made
            before = rows[open_]
            self.following[before, (made[open_] - 1) % self.slots] = observation[before]
            self.followed[rows] = made
            slot = made % self.slots
            self.observation[rows, slot] = observation[rows]
            self.action[rows, slot] = action[rows].to(torch.uint8)
            self.terminated[rows, slot] = False
            self.made[rows] = made + 1
        self.time += 1
        # At the end of an episode everything that is open is paid together: nobody can tell what for.
        due = (self.decided[self.time % self.delay] & ~terminated).nonzero().squeeze(1)
        if len(due):
            self.reward[due, self.paid[due] % self.slots] = reward[due]
            self.paid[due] += 1
        over = terminated.nonzero().squeeze(1)
        if len(over):
            self._end(over)

    def _end(self, rows: Tensor) -> None:
        last = self.paid[rows] > self.followed[rows]
        ended = rows[last]
        self.terminated[ended, (self.paid[ended] - 1) % self.slots] = True
        self.following[ended, (self.paid[ended] - 1) % self.slots] = 0.0
        self.made[rows] = self.paid[rows]
        self.followed[rows] = self.paid[rows]
        self.decided[:, rows] = False

    def forget_open(self) -> None:
        """The rows began fresh episodes: drop what is open."""
        self._end(torch.arange(len(self.made), device=self.made.device))

    def draw(self, uniform: Tensor) -> tuple[Lesson, Tensor]:
        """Transitions, one for each uniform [stack, sample], and which learners have any, bool [stack]."""
        oldest = (self.made - self.kept).clamp(min=0)
        known = (torch.minimum(self.paid, self.followed) - oldest).clamp(min=0).view(self.stack, self.lanes)
        upto = known.cumsum(1)
        total = upto[:, -1:]
        pick = torch.minimum((uniform * total).to(torch.int64), (total - 1).clamp(min=0))
        lane = torch.searchsorted(upto, pick, right=True).clamp(max=self.lanes - 1)
        row = lane + torch.arange(self.stack, device=lane.device).unsqueeze(1) * self.lanes
        within = pick - (upto - known).gather(1, lane)
        slot = (oldest[row] + within) % self.slots
        discount = torch.where(self.terminated[row, slot], 0.0, self.discount)
        lesson = Lesson(
            observation=self.observation[row, slot],
            action=self.action[row, slot].to(torch.int64),
            reward=self.reward[row, slot],
            discount=discount,
            following=self.following[row, slot],
        )
        return lesson, total.squeeze(1) > 0

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name).clone() for name in self._PARTS} | {"time": self.time}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name in self._PARTS:
            getattr(self, name).copy_(state[name])
        self.time = int(state["time"])

    @property
    def bytes(self) -> int:
        return sum(getattr(self, name).nbytes for name in self._PARTS)
