"""What off-policy methods remember: transitions of agents or of the team, or sequences, out of steps as they happen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Generator, Tensor

from marlbench.algorithms.base import Setting
from marlbench.environments.contract import Discrete, EnvironmentSpecification, Step
from marlbench.training.replay import Drawn, Field, Replay
from marlbench.training.sequences import SequenceReplay, Sequences
from marlbench.training.storage import whole_number_dtype

ReplayPrecision = Literal["float32", "float16", "int8"]


@dataclass(frozen=True)
class Keep:
    """What a method needs of each joint step.

    Attributes:
        state: the global state.
        joint: transitions are the team's and not each agent's: where agents skip steps they run from a joint step at
            which somebody acts to the next one.
        precision: of observations and states in the replay: `float32` is exact, `float16` has 11 significant bits,
            `int8` steps of 1/127 of the largest magnitude in the vector.
        sequence: elements of a sequence; None for single transitions.
        memory_size: features of an agent's recurrent state.
        prioritised: sample by priorities.
    """

    state: bool = False
    joint: bool = False
    precision: ReplayPrecision = "float32"
    sequence: int | None = None
    memory_size: int = 0
    prioritised: bool = False

    def decisions(self, specification: EnvironmentSpecification) -> bool:
        """Whether single transitions run over several joint steps, from a decision to the next."""
        return specification.skips_steps and self.sequence is None

    def fields(self, specification: EnvironmentSpecification) -> tuple[dict[str, Field], tuple[str, ...]]:
        """What is stored of each row at each joint step, and of which fields the following value is looked up."""
        agents = len(specification.agents)
        shown = {"observation": Field((agents, specification.observation_size), self.precision)}
        if self.state:
            shown["state"] = Field((specification.state_size,), self.precision)
        if specification.masks_actions and isinstance(specification.action, Discrete):
            shown["available_actions"] = Field((agents, specification.action.count), "bool")
        if specification.skips_steps and (self.joint or self.sequence is not None):
            shown["acting"] = Field((agents,), "bool")
        done = {"reward": Field((agents,)), "terminated": Field((agents,), "bool")}
        if isinstance(specification.action, Discrete):
            done["action"] = Field((agents,), whole_number_dtype(specification.action.count))
        else:
            done["action"] = Field((agents, specification.action.size))
        if self.joint:
            done["over"] = Field((), "bool")
        if self.decisions(specification):
            following = {f"following_{name}": field for name, field in shown.items()}
            return {**shown, **following, **done, "valid": Field((agents,), "bool")}, ()
        if specification.skips_steps:
            shown["new_occupant"] = Field((agents,), "bool")
        return {**shown, **done}, tuple(shown)

    def disk(self, specification: EnvironmentSpecification, members: int, rows: int, capacity: int) -> int:
        """Bytes of the replay's files."""
        fields, chained = self.fields(specification)
        size = Replay.size(
            fields, members, rows, capacity, slack_for(capacity), chained, specification.episode_limit
        )
        if self.sequence is not None:
            starts = (capacity + slack_for(capacity)) // SequenceReplay.stride_of(self.sequence) + 2
            size += 4 * self.memory_size * len(specification.agents) * members * rows * starts
        return size


def slack_for(capacity: int) -> int:
    """Joint steps that may be written between two checkpoints: a tenth of the capacity, at least 256."""
    return max(256, capacity // 10)


class Experience:
    """The replay of a method, fed with steps.

    Where agents skip steps, a single transition starts at a decision of an agent (`Keep.joint`: of anybody) and is
    written when the agent (anybody) decides again, its episode ends or its slot gets another occupant. Rewards in
    between are summed and one discount is applied to each; `valid` marks what was written. The team goes on when a
    slot gets another occupant. Nobody knows who would have acted at the end of an episode that was cut: those who
    acted last and did not terminate.

    Args:
        capacity: joint steps.
        steps: n of n-step transitions.
        discount: of the rewards within them.
    """

    def __init__(
        self, setting: Setting, capacity: int, keep: Keep, steps: int = 1, discount: float = 1.0
    ) -> None:
        specification = setting.specification
        self.members, self.rows, self.keep, self.discount = setting.members, setting.rows, keep, discount
        self.device = setting.device
        self.masks = specification.masks_actions and isinstance(specification.action, Discrete)
        self.skips = specification.skips_steps
        self.decisions = keep.decisions(specification)
        directory = None if setting.directory is None else setting.directory / "replay"
        fields, chained = keep.fields(specification)
        sizes = (self.members, self.rows, capacity, slack_for(capacity))
        options: dict[str, Any] = {"device": setting.device, "prioritised": keep.prioritised}
        self.replay: Replay
        if keep.sequence is None:
            self.replay = Replay(directory, fields, *sizes, chained=chained, span=steps, **options)
        else:
            memory = (setting.agents, keep.memory_size)
            self.replay = SequenceReplay(
                directory, fields, *sizes, chained=chained, length=keep.sequence, memory=memory, **options
            )
        self._open: dict[str, Tensor] = {}
        if self.skips:
            self._open = self._nothing_open(setting, fields)

    def _nothing_open(self, setting: Setting, fields: Mapping[str, Field]) -> dict[str, Tensor]:
        lead = (self.members * self.rows, setting.agents)

        def zeros(*shape: int, dtype: torch.dtype) -> Tensor:
            return torch.zeros(*shape, dtype=dtype, device=setting.device)

        kept = {"acted": zeros(*lead, dtype=torch.bool)}
        if self.decisions:
            discrete = isinstance(setting.specification.action, Discrete)
            kept["reward"] = zeros(*lead, dtype=torch.float32)
            kept["waiting"] = zeros(*lead, dtype=torch.bool)
            kept["terminated"] = zeros(*lead, dtype=torch.bool)
            kept["action"] = zeros(
                *lead, *fields["action"].shape[1:], dtype=torch.int64 if discrete else torch.float32
            )
            for name in fields:
                if f"following_{name}" in fields:
                    kind = torch.bool if fields[name].dtype == "bool" else torch.float32
                    kept[name] = zeros(lead[0], *fields[name].shape, dtype=kind)
        return kept

    def add(self, step: Step, memory: Tensor | None, action: Tensor, following: Step) -> None:
        """Record one joint step; `memory` is the recurrent state before it, [row, agent, memory_size]."""
        values = {"reward": following.reward, "terminated": following.terminated, "action": action}
        if self.keep.joint:
            values["over"] = following.ended & ~following.truncated.any(1)
        if self.skips:
            anybody = step.acting.any(1, keepdim=True)
            self._open["acted"] = torch.where(anybody, step.acting, self._open["acted"])
        if self.decisions:
            self.replay.append(self._split({**values, **self._decisions(step, action, following)}))
            return
        values.update(self._shown(step))
        if isinstance(self.replay, SequenceReplay):
            assert memory is not None
            self.replay.remember(self._split({"memory": memory})["memory"])
        cut = kept = final = None
        if following.any_ended:
            ended = following.ended & following.truncated.any(1)
            cut, kept = (flag.view(self.members, self.rows) for flag in (following.ended, ended))
            # On a GPU nobody waits for the answer.
            if self.device.type == "cuda" or bool(ended.any()):
                final = self._split(self._final(following))
        self.replay.append(self._split(values), self._split(self._shown(following)), cut, kept, final)

    def _shown(self, step: Step) -> dict[str, Tensor]:
        shown = {
            "observation": step.observation,
            "state": step.state,
            "available_actions": step.available_actions,
            "acting": step.acting,
            "new_occupant": step.new_occupant,
        }
        return {name: shown[name] for name in self.replay.chained}

    def _final(self, following: Step) -> dict[str, Tensor]:
        final = {
            "observation": following.final_observation,
            "state": following.final_state,
            "available_actions": following.final_available_actions,
        }
        if self.skips:
            final["acting"] = self._open["acted"] & ~following.terminated
            final["new_occupant"] = torch.zeros_like(following.new_occupant)
        return {name: final[name] for name in self.replay.chained}

    def _split(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: v.view(self.members, self.rows, *v.shape[1:]) for name, v in values.items()}

    def _decisions(self, step: Step, action: Tensor, following: Step) -> dict[str, Tensor]:
        kept, joint = self._open, self.keep.joint
        acting, again = step.acting, following.acting
        over = following.terminated | following.truncated | following.new_occupant
        if joint:
            acting = acting.any(1, keepdim=True).expand_as(acting)
            again = again.any(1, keepdim=True).expand_as(again)
            over = following.ended.unsqueeze(1).expand_as(over)
        now = {"observation": step.observation, "state": step.state, "acting": step.acting}
        now |= {"available_actions": step.available_actions, "action": action}
        for name in now.keys() & kept.keys():
            chosen = acting[:, 0] if name == "state" else acting
            kept[name] = _where(chosen, now[name], kept[name])
        kept["reward"] = torch.where(acting, 0.0, kept["reward"]) + following.reward
        waiting = kept["waiting"] | acting
        written = waiting & (again | over)
        kept["waiting"] = waiting & ~written
        if joint:
            kept["terminated"] = (kept["terminated"] & ~acting) | following.terminated
            terminated = kept["terminated"]
        else:
            # The one who left is not worth what its successor sees.
            terminated = following.terminated | (following.new_occupant & ~following.truncated)
        after = {
            "following_observation": following.final_observation,
            "following_state": following.final_state,
            "following_available_actions": following.final_available_actions,
            "following_acting": torch.where(over, kept["acted"] & ~terminated, following.acting),
        }
        names = [name for name in kept if f"following_{name}" in self.replay.fields]
        return {
            **{name: kept[name] for name in (*names, "action", "reward")},
            **{f"following_{name}": after[f"following_{name}"] for name in names},
            "terminated": terminated,
            "valid": written,
        }

    @property
    def available(self) -> bool:
        return self.replay.available

    def sample(self, generators: Sequence[Generator], batch: int) -> dict[str, Tensor]:
        """Transitions as `transitions` gives them, where nobody asks which."""
        return self.transitions(self.replay.draw(generators, batch))

    def transitions(self, drawn: Drawn) -> dict[str, Tensor]:
        """Sampled transitions on the device, name -> [member, batch, ...]: all fields, those that the rows showed
        afterwards as `following_...`; over n steps `reward` is their discounted sum, `terminated` and `over` are the
        last one's, and `discount` (only then) is the factor of what follows, [member, batch]."""
        found = self.replay.transitions(drawn)
        batch = dict(found.first)
        batch.update({f"following_{name}": value for name, value in found.following.items()})
        if found.later:
            factor = torch.full(batch["reward"].shape[:2], self.discount, device=self.device)
            for later in found.later:
                going = later["going"]
                batch["reward"] = batch["reward"] + (factor * going).unsqueeze(-1) * later["reward"]
                factor = torch.where(going, factor * self.discount, factor)
                for name in ("terminated", "over"):
                    if name in batch:
                        batch[name] = _where(going, later[name], batch[name])
            batch["discount"] = factor
        return batch

    def sequences(self, drawn: Drawn) -> Sequences:
        assert isinstance(self.replay, SequenceReplay)
        return self.replay.sequences(drawn)

    def rows_restarted(self) -> None:
        """Episodes were interrupted: end them where they stood, and drop transitions that wait for a decision."""
        self.replay.cut_all()
        if self.decisions:
            self._open["waiting"].zero_()

    def state_dict(self) -> dict[str, Any]:
        return {
            "replay": self.replay.state_dict(),
            "open": {name: value.clone() for name, value in self._open.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.replay.load_state_dict(state["replay"])
        for name, value in state["open"].items():
            self._open[name] = value.to(self._open[name].device, copy=True)


def _where(chosen: Tensor, one: Tensor, other: Tensor) -> Tensor:
    return torch.where(chosen.view(*chosen.shape, *(1,) * (one.dim() - chosen.dim())), one, other)
