"""What is done with trained policies: evaluated again, played, exported, set against each other."""
