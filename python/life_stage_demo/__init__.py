"""Demo data with known children: a simulator of shoppers and two importers of public data."""
