"""How small? Quantisation to int8."""
