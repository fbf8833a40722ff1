"""The first Google TPU: its instructions, a compiler, the machine that runs them."""
