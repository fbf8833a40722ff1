"""Proofs about a network by linear bounds of all its values (CROWN).

Zhang et al. 2018, arXiv:1811.00866. `lines` bounds functions by lines, `region` holds
coefficients, `forms` says what each operator does to both, `engine` follows them backward,
`network` reads a trained model. numpy in float64; what is proved holds in real arithmetic.
"""
