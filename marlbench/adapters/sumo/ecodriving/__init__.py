"""Eco-driving at signalised intersections: the task of IntersectionZoo (arXiv 2410.15221) on SUMO.

An episode is one *context* (an intersection with its traffic), drawn from those to train on or those held out. A part
of the vehicles is controlled: each of them takes a slot, which is an agent, while it is near the intersection.

- `parameters`, `contexts`: what is drawn and from where;
- `intersection`: the network around the signal, read from SUMO's file; `generated` makes networks with `netgenerate`;
- `signal_times`: when movements have green; `demand`: vehicles and their routes;
- `vehicles`, `view`: what is read of vehicles at each step, and what controlled ones see; `slots`: who drives where;
- `ledger`: emissions and vehicles served by approach, and how they compare with plain driving;
- `aside`: a process for the plain driving; `row`: the control loop, in a worker; `environment`: the batch.
"""
