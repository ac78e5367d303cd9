"""dbt plugin (dbt loads every module named dbt_*): dbt-spark runs Python models in its SQL session."""

import contextlib
import os
import sys

with contextlib.suppress(ImportError):  # the extra `spark` is not installed
    from dbt.adapters.base import PythonJobHelper
    from dbt.adapters.spark.impl import SparkAdapter

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # executors use the driver's Python

    class SessionJob(PythonJobHelper):
        """Runner of a Python model in dbt's own process."""

        def __init__(self, parsed_model: dict, credentials: object) -> None:
            """No preparation: the session is open."""

        def submit(self, compiled_code: str) -> None:
            """Run the compiled model, which writes its own table."""
            exec(compile(compiled_code, "python model", "exec"), {"__name__": "python_model"})

    SparkAdapter.python_submission_helpers = property(lambda adapter: {"session": SessionJob})
    SparkAdapter.default_python_submission_method = property(lambda adapter: "session")
