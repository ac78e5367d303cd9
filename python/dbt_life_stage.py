"""dbt plugin, loaded because its name begins with dbt_: lets dbt-spark run Python models in the session that runs its
SQL."""

import contextlib
import os
import sys

with contextlib.suppress(ImportError):  # without the extra `spark` there is nothing to do
    from dbt.adapters.base import PythonJobHelper
    from dbt.adapters.spark.impl import SparkAdapter

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # executors compute with what the driver has

    class SessionJob(PythonJobHelper):
        """A Python model, run where dbt itself runs."""

        def __init__(self, parsed_model: dict, credentials: object) -> None:
            """Nothing to prepare: the session is open."""

        def submit(self, compiled_code: str) -> None:
            """Run what dbt made of the model; it writes its own table."""
            exec(compile(compiled_code, "python model", "exec"), {"__name__": "python_model"})

    SparkAdapter.python_submission_helpers = property(lambda adapter: {"session": SessionJob})
    SparkAdapter.default_python_submission_method = property(lambda adapter: "session")
