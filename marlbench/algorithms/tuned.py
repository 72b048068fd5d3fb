"""Tuned settings from the literature, for `settings: <name>` in a suite.

They hold what our methods have a name for; what does not carry over is said in the source. [code] was read in the
authors' own code.
"""

from __future__ import annotations

from marlbench.algorithms.base import TunedSettings

MAPPO = {
    "yu_2022_simple_spread": TunedSettings(
        source=(
            "Yu et al. 2022 (arXiv 2103.01955), train_mpe_spread.sh [code], with 128 rows and 20,000,000 steps; its "
            "option --use_ReLU switches relu off; gradients run back 25 steps instead of 10"
        ),
        hyperparameters={
            "hidden": [64, 64],
            "activation": "tanh",
            "recurrent_units": 64,
            "sequence_length": 25,
            "learning_rate": 7e-4,
            "rollout_length": 25,
            "epochs": 10,
            "minibatches": 1,
            "clip": 0.2,
            "entropy_coefficient": 0.01,
            "maximum_gradient_norm": 10.0,
        },
    ),
    "yu_2022_smac": TunedSettings(
        source=(
            "Yu et al. 2022 (arXiv 2103.01955), train_smac_3m.sh [code], with 8 rows and 10,000,000 steps; without its "
            "layer normalisation"
        ),
        hyperparameters={
            "hidden": [64, 64],
            "activation": "relu",
            "recurrent_units": 64,
            "sequence_length": 10,
            "critic_input": "state_and_observation",
            "learning_rate": 5e-4,
            "rollout_length": 400,
            "epochs": 15,
            "minibatches": 1,
            "clip": 0.2,
            "entropy_coefficient": 0.01,
            "maximum_gradient_norm": 10.0,
        },
    ),
}

_PARTICLES = {
    "agent_identity": True,
    "hidden": [64, 64],
    "activation": "relu",
    "double": True,
    "learning_rate": 5e-4,
    "batch": 800,
    "replay_steps": 125_000,
    "learning_starts": 800,
    "update_interval": 25,
    "target_interval": 5_000,
    "standardise_rewards": True,
    "exploration_steps": 50_000,
}
_PARTICLES_SOURCE = (
    "EPyMARL's defaults (arXiv 2006.07869) [code], memoryless, counted in episodes of 25 steps; its episodes end for "
    "good at their last step"
)
_BATTLES = {
    "agent_identity": True,
    "hidden": [64],
    "activation": "relu",
    "recurrent_units": 64,
    "sequence_length": 60,
    "double": True,
    "learning_rate": 5e-4,
    "batch": 32,
    "replay_steps": 300_000,
    "learning_starts": 2_000,
    "update_interval": 60,
    "target_interval": 12_000,
    "exploration_steps": 50_000,
}
_BATTLES_SOURCE = (
    "Samvelyan et al. 2019 (arXiv 1902.04043), pymarl's defaults for SMAC [code], counted in episodes of 60 steps; "
    "Adam in the place of RMSprop, and the last action is not observed"
)

VDN = {
    "epymarl_particles": TunedSettings(_PARTICLES_SOURCE, {**_PARTICLES, "team_reward": "sum"}),
    "pymarl_smac": TunedSettings(_BATTLES_SOURCE, _BATTLES),
}
QMIX = {
    "epymarl_particles": TunedSettings(
        _PARTICLES_SOURCE,
        {**_PARTICLES, "team_reward": "sum", "mixer_units": 32, "hypernetwork_units": 64},
    ),
    "pymarl_smac": TunedSettings(_BATTLES_SOURCE, {**_BATTLES, "mixer_units": 32, "hypernetwork_units": 64}),
}
IQL = {
    "epymarl_particles": TunedSettings(
        _PARTICLES_SOURCE,
        {
            **_PARTICLES,
            "reward": "sum",
            "hidden": [128],
            "recurrent_units": 128,
            "sequence_length": 25,
            "batch": 32,
            "learning_rate": 3e-4,
            "exploration_steps": 200_000,
        },
    ),
    "pymarl_smac": TunedSettings(_BATTLES_SOURCE, _BATTLES),
}
MADDPG = {
    "lowe_2017": TunedSettings(
        "Lowe et al. 2017 (arXiv 1706.02275), appendix and train.py [unverified]; one row, episodes of 25 steps",
        {
            "sharing": "independent",
            "hidden": [64, 64],
            "activation": "relu",
            "actor_learning_rate": 1e-2,
            "critic_learning_rate": 1e-2,
            "discount": 0.95,
            "batch": 1024,
            "replay_steps": 1_000_000,
            "update_interval": 100,
            "target_rate": 0.01,
        },
    )
}
A2C = {
    "co_player_inference": TunedSettings(
        "arXiv 2602.16301, A2C on the mixed pool of its final stage [paper], with 4,096 trajectories of 100 rounds in "
        "a batch (rows); a learner for each agent, no hidden layer before the recurrent unit [unverified]",
        {
            "sharing": "independent",
            "agent_identity": False,
            "hidden": [],
            "recurrent_units": 128,
            "sequence_length": 100,
            "rollout_length": 100,
            "learning_rate": 1e-3,
            "discount": 0.99,
            "trace_decay": 1.0,
            "value_coefficient": 0.5,
            "entropy_coefficient": 0.01,
            "normalise_advantages": True,
            "maximum_gradient_norm": 1.0,
            "value_normalisation": False,
            "reward_scale": 0.02,
        },
    )
}
_IPLAN_SOURCE = "Wu et al. 2023 (arXiv 2306.06236) [paper], an ablation of section 5"
IPLAN = {
    "ippo": TunedSettings(
        f"{_IPLAN_SOURCE}: IPPO, without both incentives", {"behaviour": "none", "instant": False}
    ),
    "ippo_bm": TunedSettings(
        f"{_IPLAN_SOURCE}: IPPO-BM, the behavioural incentive alone", {"instant": False}
    ),
    "ippo_gat": TunedSettings(
        f"{_IPLAN_SOURCE}: IPPO-GAT, the instant incentive alone", {"behaviour": "none"}
    ),
    "iplan_hard": TunedSettings(
        f"{_IPLAN_SOURCE}: iPLAN-hard, latents of behaviour are replaced", {"behaviour": "hard"}
    ),
}
