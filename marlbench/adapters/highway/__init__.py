"""The heterogeneous highway on highway-env itself: what the simulator of ours is compared with."""
