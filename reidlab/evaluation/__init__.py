"""Networks and runs, evaluated: features, other distances, export, hard queries."""
