"""Same person or not: pairs, error rates, thresholds, a learned head."""
