"""What to run: experiments and networks as frozen data. No JAX in this package."""
