"""MAPPO: proximal policy optimisation with a critic that sees the global state in training.

Yu et al. 2022, "The surprising effectiveness of PPO in cooperative multi-agent games" (arXiv 2103.01955): decentralised
actors pi(a | o) and one central critic V(s), trained on (appendix A)

    L(theta) = -E[ min(r A, clip(r, 1 - epsilon, 1 + epsilon) A) ] - c_e E[H],   r = pi(a | o) / pi_old(a | o)
    L(phi)   =  E[ max( l(V(s) - R), l(clip(V(s), V_old - epsilon, V_old + epsilon) - R) ) ]

with l Huber's function, and with what the paper recommends (sections 3 and 5): values normalised by running statistics
of their targets; what the critic sees is the state, the state beside the agent's own observation ("agent-specific"),
or all observations; all of a rollout in one minibatch, few epochs; unavailable actions masked; and death masking: an
agent that does not act weighs nothing in L(theta), and in L(phi) it is a sample of zeros and its identity. Where agents
merely skip steps, such a sample's target is what the agent receives until and from its next decision. The paper's layer
normalisation and its normalisation of observations are left out.
"""

from __future__ import annotations

from pydantic import Field

from marlbench.algorithms import tuned
from marlbench.algorithms.critic_inputs import CentralInput, CriticInput
from marlbench.algorithms.proximal import ProximalHyperparameters, ProximalPolicyOptimisation


class MAPPOHyperparameters(ProximalHyperparameters):
    """Settings of MAPPO; lengths in joint steps, counts in samples of one agent."""

    critic_input: CentralInput = Field(
        "state",
        description="the state, the agent's own observation before it, all observations, or the state once for all",
    )
    agent_identity: bool = Field(
        True, description="append a one-hot of the agent to inputs where agents share parameters"
    )
    epochs: int = Field(10, ge=1, description="passes over each rollout")
    minibatches: int = Field(1, ge=1, description="parts that a pass is split into")
    value_normalisation: bool = Field(
        True, description="the critic learns targets of mean 0 and deviation 1, by running statistics"
    )
    value_clip: float | None = Field(
        0.2,
        gt=0,
        description="most that an update of a value counts, in the critic's units; null for no limit",
    )
    huber_threshold: float | None = Field(
        10.0,
        gt=0,
        description="value errors beyond it count linearly, in the critic's units; null for squares",
    )
    maximum_gradient_norm: float = Field(10.0, gt=0, description="of one learner's actor and critic together")


class MAPPO(ProximalPolicyOptimisation):
    """Proximal policy optimisation with a central critic on the parameter stack."""

    revision = 1
    Hyperparameters = MAPPOHyperparameters
    settings = tuned.MAPPO

    @classmethod
    def critic_sees(cls, hyperparameters: MAPPOHyperparameters) -> CriticInput:
        return hyperparameters.critic_input
