"""Commands of `life-stage` that read the project, the source or the marts."""
