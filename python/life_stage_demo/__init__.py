"""Shoppers whose children are known: a simulator and two importers of public data."""
