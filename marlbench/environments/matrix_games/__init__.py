"""Games given by payoff matrices, played once, over and over, or in stages."""
