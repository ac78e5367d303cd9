"""Recursive filters on arrays: birth months, presence, tracks."""
