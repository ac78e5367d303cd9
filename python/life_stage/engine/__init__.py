"""Connection of the Python parts with dbt and the engines."""
