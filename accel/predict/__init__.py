"""Closed forms of what the machines count, and SCALE-Sim's figures from the same forms."""
