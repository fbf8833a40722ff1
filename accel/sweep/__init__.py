"""A cost model over millions of designs, and the few of them that are worth a look."""
