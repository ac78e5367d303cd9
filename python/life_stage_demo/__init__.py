"""Shoppers with known children: a simulator and two importers of public data."""
