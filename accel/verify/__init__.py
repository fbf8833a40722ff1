"""A network on a machine: every bit and every cycle, compared and reported."""
