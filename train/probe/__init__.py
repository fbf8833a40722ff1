"""Robustness of a network: what is measured, how it is checked, how it is shown."""
