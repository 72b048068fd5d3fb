"""The gated recurrent unit over whole sequences, with its backward pass written out.

Automatic differentiation of the steps one by one records some ten operations a step and adds up the gradients of the
weights step by step. Here a step backwards is four operations, and the weights' gradients are one product at the end.
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
        recalled = torch.empty_like(projected)
        gates, proposed, after = (projected.new_empty(*projected.shape[:3], k * units) for k in (2, 1, 1))
        kept = None if fresh is None else (~fresh).to(projected.dtype).unsqueeze(-1)
        before = after if kept is None else torch.empty_like(after)
        for time in range(projected.shape[1]):
            if kept is not None:
                memory = torch.mul(memory, kept[:, time], out=before[:, time])
            now, found, switch, new = projected[:, time], recalled[:, time], gates[:, time], proposed[:, time]
            torch.baddbmm(bias, memory, weight, out=found)
            torch.add(now[..., : 2 * units], found[..., : 2 * units], out=switch).sigmoid_()
            torch.addcmul(
                now[..., 2 * units :], switch[..., :units], found[..., 2 * units :], out=new
            ).tanh_()
            memory = torch.lerp(new, memory, switch[..., units:], out=after[:, time])
        if kept is None:
            before = torch.cat([first.unsqueeze(1), after[:, :-1]], 1)
        ctx.save_for_backward(before, gates, proposed, recalled[..., 2 * units :], weight, kept)
        return after

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outside: Tensor) -> tuple[Tensor | None, ...]:
        before, gates, proposed, recalled, weight, kept = ctx.saved_tensors
        units = before.shape[-1]
        reset, update = gates.split(units, -1)
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
        recalls = through.flatten(-2).flatten(1, 2)
        weights = torch.bmm(before.flatten(1, 2).transpose(1, 2), recalls)
        biases = recalls.sum(1, keepdim=True)
        inputs = through.flatten(-2)
        # The gradient of p differs from that of u in n alone, and u's is no longer needed.
        torch.mul(arriving, steep, out=inputs[..., 2 * units :])
        return inputs, gradient, weights, biases, None
