"""Life-stage inference: the parts of the dbt project that are not SQL, as functions on arrays and frames."""
