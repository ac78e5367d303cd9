"""Python models on Spark."""
