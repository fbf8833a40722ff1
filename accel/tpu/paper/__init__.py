"""What the TPU paper publishes, and this model's answers."""
