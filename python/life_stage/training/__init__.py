"""Regressions and fine-tuning: from labelled user-months to coefficients."""
