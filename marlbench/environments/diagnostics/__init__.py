"""Small tasks with known optima, each of which asks one thing of a method."""
