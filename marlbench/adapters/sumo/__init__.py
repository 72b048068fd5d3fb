"""Tasks on SUMO, the simulator of urban traffic (Lopez et al. 2018), through libsumo.

libsumo holds one simulation per process, and a second one silently takes the place of the first. So a row is a
process: `Workers` starts one for each, in which a `SumoRow` holds the process's only `Simulation`. A task is two
classes:

- a subclass of `environment.SumoEnvironment`, in the job's process: parameters, data files, `rules` (see `sumo_rules`);
- a subclass of `row.SumoRow`, in the worker: `description`, `start`, `advance`, `measure`, written into shared arrays.
"""
