"""Speed and memory of every stage beside torchreid's, measured in one run: ``make bench``."""
