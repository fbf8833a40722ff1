"""How good? Data, Flax models, training and what the network sees."""
