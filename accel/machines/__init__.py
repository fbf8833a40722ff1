"""Machines as data: arrays, memories, whole chips, and the files they come from."""
