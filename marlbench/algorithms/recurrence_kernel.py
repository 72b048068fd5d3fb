"""A step backwards through a gated recurrent unit, compiled for CPUs: one loop over samples.

The same with library calls reads and writes memory some twenty times. Nothing is rounded otherwise than by these: the
compiler may neither regroup nor fuse.
"""

from __future__ import annotations

from typing import Any

from marlbench.compiling import compiled


@compiled(nogil=True, error_model="numpy")
def step_back(
    time: int,
    outside: Any,
    gradient: Any,
    kept: Any,
    gates: Any,
    proposed: Any,
    before: Any,
    recalled: Any,
    through: Any,
    inputs: Any,
    rest: Any,
) -> None:
    """What `GatedSequence.backward` makes of one step, but for the product with the weights of the memory.

    Args:
        time: of the step.
        outside: dL/dh' from the outputs, [stack, time, sample, unit].
        gradient: dL/dh' from the step after, [stack, sample, unit], before its memory was emptied; overwritten.
        kept: of the memories before steps, [stack, time, sample]: 0 where they were emptied; of no size for nowhere.
        gates, proposed, before, recalled: r and z, n, h and u_n, [stack, time, sample, so many times unit].
        through: dL/du, [stack, time, sample, 3 x unit], filled for this step.
        inputs: dL/dp_n, [stack, time, sample, unit], filled for this step.
        rest: g z, the share of dL/dh that passes by the weights, [stack, sample, unit], filled.
    """
    units = proposed.shape[3]
    one = proposed.dtype.type(1)
    emptied = kept.size > 0 and time + 1 < proposed.shape[1]
    for learner in range(proposed.shape[0]):
        for sample in range(proposed.shape[2]):
            share = kept[learner, time + 1, sample] if emptied else one
            gate, new = gates[learner, time, sample], proposed[learner, time, sample]
            old, said = before[learner, time, sample], recalled[learner, time, sample]
            arriving, arrived = outside[learner, time, sample], gradient[learner, sample]
            reset, update = gate[:units], gate[units:]
            of_gates, steep = through[learner, time, sample], inputs[learner, time, sample]
            of_reset, of_update, of_new = of_gates[:units], of_gates[units : 2 * units], of_gates[2 * units :]
            left = rest[learner, sample]
            # A compiler makes vector instructions of a loop that writes one array, and of these rows none leaves the
            # nearest cache in between.
            for unit in range(units):
                arrived[unit] = arrived[unit] * share + arriving[unit]
            for unit in range(units):
                steep[unit] = (one - update[unit]) * (one - new[unit] * new[unit])
            for unit in range(units):
                of_reset[unit] = arrived[unit] * (
                    steep[unit] * said[unit] * reset[unit] * (one - reset[unit])
                )
            for unit in range(units):
                of_update[unit] = arrived[unit] * (
                    (old[unit] - new[unit]) * update[unit] * (one - update[unit])
                )
            for unit in range(units):
                of_new[unit] = arrived[unit] * (steep[unit] * reset[unit])
            for unit in range(units):
                steep[unit] = arrived[unit] * steep[unit]
            for unit in range(units):
                left[unit] = arrived[unit] * update[unit]
