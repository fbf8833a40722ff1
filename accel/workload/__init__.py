"""What there is to compute: the products of a network, wherever it comes from."""
