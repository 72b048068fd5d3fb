"""Traffic signals on SUMO: every signal of a network is an agent that chooses its next green phase.

- `networks`: the networks of RESCO; `parameters`: of a task; `environment`: the batched environment;
- `plans`: phases of a signal and what is yellow between them; `sensors`: what is read of lanes; `players`: rules that
  choose phases; `row`: the control loop of one simulation; `measures`: what an episode is judged by;
- `picture`: queues over time and a map with mean delays.
"""
