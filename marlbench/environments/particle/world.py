"""Discs that move in the plane and push each other: the physics that every particle task shares.

The facts are those of the particle world of Lowe et al. 2017 (arXiv 1706.02275) as mpe2 1.1.1 has them
[code]. One step of length `dt`, with the forces of the positions before the step:

    position <- position + dt velocity
    velocity <- (1 - damping) velocity + dt (control + contact) / mass, mass 1
    contact of i from j = stiffness * margin * softplus((r_i + r_j - d_ij) / margin) * (p_i - p_j) / d_ij

The world of Lowe et al. moved with the velocity that the step had just made [code: openai/multiagent-particle-envs,
core.py]: `moves_last`.

Everything is float64: contacts amplify differences, and in float32 one episode in ten of six crowded agents
left the reference by more than 1e-5.

A row is a column here: tensors are [quantity, row], so that every operation runs over contiguous rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor
from torch.nn.functional import softplus


class ParticleWorld:
    """Moving discs (agents) that collide with each other, and points (landmarks) that stay.

    Two agents whose centres coincide exactly have no direction to part in: their velocities become NaN, as in
    mpe2.

    Attributes:
        packed: float64 [quantity, row]; the quantities are, in this order, the agents' velocities, the
            agents' positions and the landmarks' positions, each with all the x before all the y (`index`).
        pairs: the unordered pairs of agents, in the order of the pair axis.
        agent_distance: float64 [pair, row], between the agents' present positions.
        contact_distance: float64 [pair, 1], the sum of the radii: nearer pairs touch.
        landmark_distance: float64 [agent, landmark, row].
    """

    def __init__(
        self,
        radii: Sequence[float],
        landmarks: int,
        rows: int,
        device: torch.device,
        *,
        dt: float = 0.1,
        damping: float = 0.25,
        stiffness: float = 100.0,
        margin: float = 1e-3,
        moves_last: bool = False,
    ) -> None:
        self.agents, self.landmarks = len(radii), landmarks
        self.dt, self.damping, self.moves_last = dt, damping, moves_last
        self._stiffness, self._margin = stiffness, margin
        self.pairs = list(combinations(range(self.agents), 2))
        agents, pairs = self.agents, len(self.pairs)

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        self.quantities = 4 * agents + 2 * landmarks
        self.packed = zeros(self.quantities, rows)
        self._velocity = self.packed[: 2 * agents]
        self._velocity_by_row = self._velocity.view(2, agents, rows).permute(2, 1, 0)
        self._position = self.packed[2 * agents : 4 * agents]
        reach = [radii[first] + radii[second] for first, second in self.pairs]
        self.contact_distance = torch.tensor(reach, dtype=torch.float64, device=device).unsqueeze(1)

        # Relative positions, x before y: first minus second of each pair, then agent minus landmark.
        relative = torch.zeros(2, pairs + agents * landmarks, self.quantities, dtype=torch.float64)
        push = torch.zeros(2 * agents, 2 * pairs, dtype=torch.float64)
        for axis in range(2):
            for pair, (first, second) in enumerate(self.pairs):
                relative[axis, pair, self.index("position", first, axis)] = 1
                relative[axis, pair, self.index("position", second, axis)] = -1
                push[self.index("velocity", first, axis), axis * pairs + pair] = 1
                push[self.index("velocity", second, axis), axis * pairs + pair] = -1
            for agent in range(agents):
                for landmark in range(landmarks):
                    line = pairs + agent * landmarks + landmark
                    relative[axis, line, self.index("position", agent, axis)] = 1
                    relative[axis, line, self.index("landmark", landmark, axis)] = -1
        self._relative_of_packed = relative.flatten(0, 1).to(device)
        self._push = push.to(device)
        count = pairs + agents * landmarks
        self._relative = zeros(2 * count, rows)
        self._square = zeros(2 * count, rows)
        self._distance = zeros(count, rows)
        self._horizontal_square, self._vertical_square = self._square.chunk(2)
        self._pair_relative = self._relative.view(2, count, rows)[:, :pairs]
        self._pair_force = zeros(2, pairs, rows)
        self._pair_force_flat = self._pair_force.view(2 * pairs, rows)
        self.agent_distance = self._distance[:pairs]
        self.landmark_distance = self._distance[pairs:].view(agents, landmarks, rows)

    def index(self, quantity: str, entity: int, axis: int) -> int:
        """Where an agent's `velocity` or `position`, or a `landmark`, lies in `packed`; axis 0 is x."""
        first, count = {
            "velocity": (0, self.agents),
            "position": (2 * self.agents, self.agents),
            "landmark": (4 * self.agents, self.landmarks),
        }[quantity]
        return first + axis * count + entity

    def load(self, packed: Tensor) -> None:
        """Put every row where `packed` [row, quantity] says."""
        self.packed.copy_(packed.T)
        self._update_distances()

    def _update_distances(self) -> None:
        """Distances of the present positions."""
        torch.mm(self._relative_of_packed, self.packed, out=self._relative)
        torch.mul(self._relative, self._relative, out=self._square)
        torch.add(self._horizontal_square, self._vertical_square, out=self._distance).sqrt_()

    def move(self, impulse: Tensor) -> None:
        """One step; `impulse` [row, agent, 2] is the control force times `dt`."""
        overlap = softplus(self.agent_distance - self.contact_distance, beta=-1 / self._margin)
        # softplus with a negative beta gives minus the overlap; the minus of alpha below undoes it.
        torch.mul(self._pair_relative, overlap / self.agent_distance, out=self._pair_force)
        if not self.moves_last:
            self._position.add_(self._velocity, alpha=self.dt)
        torch.addmm(
            self._velocity,
            self._push,
            self._pair_force_flat,
            beta=1 - self.damping,
            alpha=-self.dt * self._stiffness,
            out=self._velocity,
        )
        self._velocity_by_row.add_(impulse)
        if self.moves_last:
            self._position.add_(self._velocity, alpha=self.dt)
        self._update_distances()
