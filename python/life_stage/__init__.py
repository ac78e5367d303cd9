"""Life-stage inference: the Python parts of the dbt project, as functions on arrays and frames."""
