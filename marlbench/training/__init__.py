"""The training loop: rollout, replay, evaluation, checkpoint state."""
