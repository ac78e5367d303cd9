"""Checkout code beside the SQL: closed-form algebra, text similarity, rankers and their evaluation."""
