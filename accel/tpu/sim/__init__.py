"""The TPU at work: what its instructions do, and when."""
