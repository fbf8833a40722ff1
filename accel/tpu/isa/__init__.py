"""The TPU's instructions, and the compiler that writes them."""
