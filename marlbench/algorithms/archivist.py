"""Archivist: a classifier tells hot data from cold, and hot data goes to the fast device; a supervised baseline.

After Archivist (Ren et al., ICCD 2019), a small feed-forward classifier that is trained every epoch [unverified]; what
follows is [ours]. Labels need no hand: a request was hot when one of the next `horizon` requests used its first page
again. At the end of an epoch the classifier takes some steps of logistic regression's loss on the epoch's requests,

    loss = -w y log p - (1 - y) log(1 - p),   w = cold requests / hot requests, between 1/10 and 10,

and decides by what it learnt from then on: p is cut into as many equal parts as there are devices, the hottest to the
fastest. Until the first epoch is over, everything goes to the fastest device. Nobody explores: labels do not depend on
what was decided.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from marlbench.algorithms.adam import Adam
from marlbench.algorithms.base import (
    Algorithm,
    Hyperparameters,
    Memory,
    Setting,
    discrete_actions,
    generators,
    initialised,
)
from marlbench.algorithms.stack import ParameterStack
from marlbench.algorithms.storage_columns import (
    MIGRATION,
    PLACEMENT,
    SCALE,
    SIBYL_COLUMNS,
    Columns,
)
from marlbench.algorithms.swish_network import SwishNetwork, parameters_of
from marlbench.algorithms.system_policy import Decider, SystemPolicy
from marlbench.algorithms.systems_apart import Apart
from marlbench.algorithms.value_heads import Head
from marlbench.environments.contract import EnvironmentSpecification, Step
from marlbench.errors import ConfigurationError


class ArchivistHyperparameters(Hyperparameters):
    """Settings of the classifier."""

    migration: str = Field("none", description="the task's built-in player that migrates")
    hidden: tuple[int, ...] = Field((16,), description="units of the hidden layers, with swish")
    epoch: int = Field(1_000, ge=2, description="requests after which the classifier is trained")
    horizon: int = Field(500, ge=1, description="requests within which a page has to come back to be hot")
    updates: int = Field(32, ge=1, description="at the end of every epoch")
    batch: int = Field(128, ge=1, description="requests of an update")
    learning_rate: float = Field(1e-2, gt=0, description="of Adam")


class HotnessHead(Head):
    """One output, the logit of being hot; the best device is that of its part of [0, 1]."""

    compiles = False

    @property
    def outputs(self) -> int:
        return 1

    def values(self, outputs: Tensor) -> Tensor:
        """1 for the device of the part in which the probability lies, 0 for others."""
        cold = 1.0 - torch.sigmoid(torch.nan_to_num(outputs.squeeze(-1)))
        device = (cold * self.actions).to(torch.int64).clamp(max=self.actions - 1)
        return torch.nn.functional.one_hot(device, self.actions).to(outputs.dtype)


class Classifier(Decider):
    """One small network for every row, a system."""

    def __init__(self, setting: Setting, options: ArchivistHyperparameters) -> None:
        specification = setting.specification
        self.columns = Columns("archivist", specification, SIBYL_COLUMNS, setting.device)
        self.agent = specification.agents.index(PLACEMENT)
        self._head = HotnessHead(discrete_actions("archivist", specification))
        self.network = SwishNetwork(PLACEMENT, self.columns.count, options.hidden, 1)
        self.stack = ParameterStack(self.network.layout, setting.members * setting.rows, setting.device)
        initialised(self.stack, [self.network], setting.seeds, setting.rows)
        self.acting = self.stack.flat.detach().clone()
        self.named = self.stack.view(self.acting)
        # So sure that everything is hot, before anything was learnt.
        self.named[f"{PLACEMENT}.{len(options.hidden)}.bias"].fill_(100.0)

    @property
    def head(self) -> Head:
        return self._head


class Archivist(Algorithm):
    """A hotness classifier places; see the module."""

    revision = 1
    Hyperparameters = ArchivistHyperparameters

    def __init__(self, setting: Setting, hyperparameters: ArchivistHyperparameters) -> None:
        self.setting, self.options = setting, hyperparameters
        if hyperparameters.horizon >= hyperparameters.epoch:
            raise ConfigurationError(
                "archivist: `horizon` must be below `epoch`, or no label would be known when it learns."
            )
        self.classifier = Classifier(setting, hyperparameters)
        self.optimiser = Adam(self.classifier.stack, hyperparameters.learning_rate)
        self.policy = SystemPolicy(
            setting,
            Apart(setting.members, setting.rows),
            [self.classifier],
            {MIGRATION: hyperparameters.migration},
        )
        self.rollout_length = hyperparameters.epoch
        self._interval = setting.specification.features.index("interval")
        rows, device = setting.members * setting.rows, setting.device
        self.generators = generators(setting.seeds, stream=2)
        self.seen = torch.zeros(rows, hyperparameters.epoch, self.classifier.columns.count, device=device)
        self.hot = torch.zeros(rows, hyperparameters.epoch, dtype=torch.bool, device=device)
        self.time = 0

    def observe(self, step: Step, memory: Tensor | None, action: Tensor, following: Step) -> None:
        epoch = self.options.epoch
        shown = step.observation[:, self.classifier.agent]
        slot = self.time % epoch
        self.seen[:, slot] = self.classifier.columns.of(shown)
        self.hot[:, slot] = False
        interval = shown[:, self._interval]
        since = torch.expm1(interval * SCALE).round().to(torch.int64)
        rows = ((interval < 1.0) & (since >= 1) & (since <= self.options.horizon)).nonzero().squeeze(1)
        self.hot[rows, (self.time - since[rows]) % epoch] = True
        self.time += 1

    def learn(self) -> dict[str, Tensor]:
        options, classifier = self.options, self.classifier
        # The pages of later requests may still come back in time.
        known = options.epoch - options.horizon
        seen, hot = self.seen[:, :known], self.hot[:, :known].to(torch.float32)
        positive = hot.sum(1, keepdim=True)
        weight = ((known - positive) / positive.clamp(min=1.0)).clamp(0.1, 10.0)
        total = torch.zeros(len(seen), device=seen.device)
        for _ in range(options.updates):
            shape = (self.setting.rows, options.batch)
            uniform = torch.cat([torch.rand(shape, generator=g) for g in self.generators])
            index = (uniform.to(seen.device) * known).to(torch.int64)
            label = hot.gather(1, index)
            features = seen.gather(1, index.unsqueeze(-1).expand(-1, -1, seen.shape[-1]))
            parameters = {name: value.detach() for name, value in classifier.stack.parameters.items()}
            outputs, kept = classifier.network.keep(parameters, features)
            logit = outputs.squeeze(-1)
            each = torch.where(label > 0.5, weight, 1.0)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, label, each, reduction="none")
            slope = each * (torch.sigmoid(logit) - label) / options.batch
            classifier.network.set_gradient(classifier.stack, kept, slope.unsqueeze(-1))
            self.optimiser.step()
            total += loss.mean(1) / options.updates
        classifier.acting.copy_(classifier.stack.flat.detach())
        members = self.setting.members
        return {
            "loss": total.view(members, -1).mean(1),
            "hot_share": (positive / known).view(members, -1).mean(1),
        }

    def rows_restarted(self) -> int:
        # `interval` never reaches back beyond the start of an episode.
        return 0

    def agent_bytes(self) -> int:
        networks = 5 * self.classifier.acting.nbytes
        return (networks + self.seen.nbytes + self.hot.nbytes) // len(self.seen)

    @classmethod
    def estimate_memory(
        cls, specification: EnvironmentSpecification, hyperparameters: Any, rows: int, seeds: int
    ) -> Memory:
        options: ArchivistHyperparameters = hyperparameters
        sizes = (len(SIBYL_COLUMNS), *options.hidden, 1)
        kept = options.epoch * (4 * len(SIBYL_COLUMNS) + 1) + 16 * options.epoch
        working = 4 * options.batch * 6 * sum(sizes)
        return Memory(resident=2 * rows * seeds * (24 * parameters_of(sizes) + kept + working), disk=0)

    def state_dict(self) -> dict[str, Any]:
        return {
            "parameters": self.classifier.stack.flat.detach().clone(),
            "acting": self.classifier.acting.clone(),
            "optimiser": self.optimiser.state_dict(),
            "generators": [g.get_state() for g in self.generators],
            "seen": self.seen.clone(),
            "hot": self.hot.clone(),
            "time": self.time,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        with torch.no_grad():
            self.classifier.stack.flat.copy_(state["parameters"])
        self.classifier.acting.copy_(state["acting"])
        self.optimiser.load_state_dict(state["optimiser"])
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            generator.set_state(saved.cpu())
        self.seen.copy_(state["seen"])
        self.hot.copy_(state["hot"])
        self.time = int(state["time"])
