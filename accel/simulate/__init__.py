"""Machines stepped register by register in `jax.lax.scan`: what they compute and count."""
