"""Attacks: how the smallest change that fools a network is looked for."""
