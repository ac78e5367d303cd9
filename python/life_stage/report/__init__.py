"""The report: one page with charts."""
