"""What a design costs: memory traffic, bandwidth stalls, energy."""
