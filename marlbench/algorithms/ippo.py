"""IPPO: every agent runs proximal policy optimisation on its own observations.

De Witt et al. 2020, "Is independent learning all you need in the StarCraft multi-agent challenge?" (arXiv 2011.09533),
with the clipped surrogate of Schulman et al. 2017 (arXiv 1707.06347, eq. 7):

    L(theta) = E[ min(r A, clip(r, 1 - epsilon, 1 + epsilon) A) ] - c_v E[(V - R)^2] + c_e E[H],
    r = pi(a | o) / pi_old(a | o),

where A are generalised advantages, R = A + V_old, and actor and critic alike see the agent's own observation o. The
paper clips the value function too: `value_clip`.
"""

from __future__ import annotations

from marlbench.algorithms.proximal import ProximalHyperparameters, ProximalPolicyOptimisation


class IPPOHyperparameters(ProximalHyperparameters):
    """Settings of IPPO; lengths in joint steps, counts in samples of one agent."""


class IPPO(ProximalPolicyOptimisation):
    """Independent proximal policy optimisation on the parameter stack."""

    revision = 1
    Hyperparameters = IPPOHyperparameters
