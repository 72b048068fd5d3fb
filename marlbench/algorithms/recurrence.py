"""The gated recurrent unit over whole sequences, with its backward pass written out.

Automatic differentiation of the steps one by one records some ten operations a step and adds up the gradients of the
weights step by step. Here a step backwards is four operations, and the weights' gradients are one product at the end;
on a CPU three of the four are one compiled loop, which gives the same bits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


class GatedSequence(Function):
    """h_t from `GatedRecurrentUnit.step` for all t; with p the share of the inputs in the gates and u = U h + b,

    r = sigmoid(p_r + u_r), z = sigmoid(p_z + u_z), n = tanh(p_n + r u_n), h' = (1 - z) n + z h.

    With g = dL/dh' (from the outputs and from the step after), the chain rule gives

    dL/dp_n = g (1 - z) (1 - n^2),   dL/du_n = r dL/dp_n,   dL/dp_r = dL/du_r = u_n r (1 - r) dL/dp_n,
    dL/dp_z = dL/du_z = g (h - n) z (1 - z),   dL/dh = g z + dL/du U^T (zero where the memory was emptied).
    """

    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, memory: Tensor, weight: Tensor, bias: Tensor, fresh: Tensor | None
    ) -> Tensor:
        """All memories after the first.

        Args:
            projected: p, [stack, time, sample, 3 x units].
            memory: before the first step, [stack, sample, units].
            weight: U, [stack, units, 3 x units].
            bias: b, [stack, 1, 3 x units].
            fresh: bool [stack, time, sample]: samples whose memory is emptied before that step; None for nowhere.

        Returns:
            [stack, time, sample, units].
        """
        units, first = memory.shape[-1], memory
        gates, recalled, proposed, after = (
            projected.new_empty(*projected.shape[:3], k * units) for k in (2, 1, 1, 1)
        )
        kept = _kept(projected, fresh)
        before = after if kept is None else torch.empty_like(after)
        room = torch.empty_like(projected[:, 0])
        for time in range(projected.shape[1]):
            if kept is not None:
                memory = torch.mul(memory, kept[:, time], out=before[:, time])
            parts = (gates[:, time], recalled[:, time], proposed[:, time], after[:, time])
            memory = _step(projected[:, time], memory, weight, bias, room, *parts)
        if kept is None:
            before = torch.cat([first.unsqueeze(1), after[:, :-1]], 1)
        ctx.save_for_backward(before, gates, proposed, recalled, weight, kept)
        return after

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outside: Tensor) -> tuple[Tensor | None, ...]:
        before, gates, proposed, recalled, weight, kept = ctx.saved_tensors
        found = (outside, before, gates, proposed, recalled, weight, kept)
        through, steepest, gradient = (_compiled if outside.device.type == "cpu" else _of_tensors)(*found)
        units = before.shape[-1]
        recalls = through.flatten(1, 2)
        weights = torch.bmm(before.flatten(1, 2).transpose(1, 2), recalls)
        biases = recalls.sum(1, keepdim=True)
        # The gradient of p differs from that of u in n alone, and u's is no longer needed.
        through[..., 2 * units :] = steepest
        return through, gradient, weights, biases, None


def unrolled(projected: Tensor, memory: Tensor, weight: Tensor, bias: Tensor, fresh: Tensor | None) -> Tensor:
    """What `GatedSequence` gives, where nobody asks for gradients: nothing is kept for them."""
    units = memory.shape[-1]
    after = projected.new_empty(*projected.shape[:3], units)
    kept, room = _kept(projected, fresh), torch.empty_like(projected[:, 0])
    gates, recalled, proposed, emptied = (room.new_empty(*room.shape[:2], k * units) for k in (2, 1, 1, 1))
    for time in range(projected.shape[1]):
        if kept is not None:
            memory = torch.mul(memory, kept[:, time], out=emptied)
        parts = (gates, recalled, proposed, after[:, time])
        memory = _step(projected[:, time], memory, weight, bias, room, *parts)
    return after


def _kept(projected: Tensor, fresh: Tensor | None) -> Tensor | None:
    return None if fresh is None else (~fresh).to(projected.dtype).unsqueeze(-1)


def _step(
    projected: Tensor,
    memory: Tensor,
    weight: Tensor,
    bias: Tensor,
    room: Tensor,
    gates: Tensor,
    recalled: Tensor,
    proposed: Tensor,
    after: Tensor,
) -> Tensor:
    """h' of one step, into `after`; r and z, u_n and n into `gates`, `recalled` and `proposed`, u into `room`."""
    units = memory.shape[-1]
    torch.baddbmm(bias, memory, weight, out=room)
    torch.add(projected[..., : 2 * units], room[..., : 2 * units], out=gates).sigmoid_()
    recalled.copy_(room[..., 2 * units :])
    torch.addcmul(projected[..., 2 * units :], gates[..., :units], recalled, out=proposed).tanh_()
    return torch.lerp(proposed, memory, gates[..., units:], out=after)


Backward = tuple[Tensor, Tensor, Tensor]
"""dL/du [stack, time, sample, 3 x units], dL/dp_n [stack, time, sample, units], dL/dh of the first memory."""


def _of_tensors(
    outside: Tensor,
    before: Tensor,
    gates: Tensor,
    proposed: Tensor,
    recalled: Tensor,
    weight: Tensor,
    kept: Tensor | None,
) -> Backward:
    """Few operations over all steps at once, as a GPU likes them."""
    reset, update = gates.split(before.shape[-1], -1)
    # dL/dp_n = g x steep; dL/du = g x slope, for r, z and n side by side.
    steep = (1.0 - update) * (1.0 - proposed.square())
    slope = torch.stack(
        [
            steep * recalled * reset * (1.0 - reset),
            (before - proposed) * update * (1.0 - update),
            steep * reset,
        ],
        -2,
    )
    arriving, through, back = torch.empty_like(before), torch.empty_like(slope), weight.transpose(1, 2)
    gradient = torch.zeros_like(before[:, 0])
    for time in range(before.shape[1] - 1, -1, -1):
        arrived, passed = arriving[:, time], through[:, time]
        torch.add(gradient, outside[:, time], out=arrived)
        torch.mul(arrived.unsqueeze(-2), slope[:, time], out=passed)
        gradient = torch.baddbmm(arrived * update[:, time], passed.flatten(-2), back)
        if kept is not None:
            gradient.mul_(kept[:, time])
    return through.flatten(-2), arriving.mul_(steep), gradient


def _compiled(
    outside: Tensor,
    before: Tensor,
    gates: Tensor,
    proposed: Tensor,
    recalled: Tensor,
    weight: Tensor,
    kept: Tensor | None,
) -> Backward:
    """Step by step, each while its numbers are at hand."""
    from marlbench.algorithms.recurrence_kernel import step_back

    through = before.new_empty(*before.shape[:3], 3 * before.shape[3])
    steepest, back = torch.empty_like(before), weight.transpose(1, 2)
    gradient = torch.zeros_like(before[:, 0])
    rest = torch.empty_like(gradient)
    keeps = before.new_empty(0, 0, 0) if kept is None else kept.squeeze(-1)
    given = (
        outside.contiguous(),
        gradient,
        keeps,
        gates,
        proposed,
        before,
        recalled,
        through,
        steepest,
        rest,
    )
    arrays = [tensor.detach().numpy() for tensor in given]
    for time in range(before.shape[1] - 1, -1, -1):
        step_back(time, *arrays)
        torch.baddbmm(rest, through[:, time], back, out=gradient)
    if kept is not None:
        gradient.mul_(kept[:, 0])
    return through, steepest, gradient
