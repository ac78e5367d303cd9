"""Evaluation of the methods on test users."""
