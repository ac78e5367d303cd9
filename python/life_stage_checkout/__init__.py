"""Checkout recommendations: the Python parts of candidate generation, ranking, evaluation and serving."""
