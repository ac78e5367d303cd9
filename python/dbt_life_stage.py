"""dbt plugin (dbt loads every module named dbt_*): Python for Jinja; dbt-spark runs Python models in its session."""

import contextlib
import os
import sys

import dbt.context.base
import dbt.contracts.graph.manifest

from life_stage import mapping, paths
from life_stage.engine import contract, delivery_checks, feature_checks, ledger, months, package, run_log, settings

CONSTANTS = {"names": settings.NAMES, "groups": settings.GROUPS, "renamed": settings.RENAMED}
CONSTANTS["delivery_counts"] = delivery_checks.DELIVERY_COUNTS
FUNCTIONS = {
    function.__name__: function
    for function in (
        contract.delivered,
        contract.family,
        contract.file_groups,
        contract.wrong_columns,
        delivery_checks.failed_delivery,
        delivery_checks.failed_fit,
        delivery_checks.failed_ids,
        feature_checks.wrong_columns_of_group,
        settings.wrong_settings,
        contract.wrong_mapping,
        contract.mapped_rows,
        mapping.mapping_of,
        paths.file_versions,
        paths.files_in_folders_like,
        paths.source_directory,
        paths.source_files,
        paths.source_identity,
        paths.source_patterns,
        ledger.ledger_facts,
        months.inputs_by_month,
        months.is_always_built,
        months.is_derived,
        months.keeps_state,
        months.parents_of,
        months.pending,
        months.sql_of_months,
        months.to_update,
        months.with_months_before,
        months.with_cumulative_hashes,
        months.with_input_hashes,
        months.with_retention,
        package.attach,
        package.is_package,
        package.model_of_ref,
        package.setting,
        run_log.errors_of,
        run_log.outcome,
        run_log.phases_of,
    )
}
_modules_of_dbt = dbt.context.base.get_context_modules
_packages_of_dbt = dbt.contracts.graph.manifest._packages_to_search


def modules() -> dict[str, dict]:
    """The `modules` of dbt's Jinja context, with `modules.life_stage`."""
    return _modules_of_dbt() | {"life_stage": CONSTANTS | FUNCTIONS}


def packages_to_search(current: str, of_node: str, given: str | None = None) -> list[str | None]:
    """The projects that dbt searches for a ref; for a node of this project itself first, then the host."""
    is_own = given is None and of_node == package.PACKAGE
    return [of_node, current, None] if is_own else _packages_of_dbt(current, of_node, given)


dbt.context.base.get_context_modules = modules
dbt.contracts.graph.manifest._packages_to_search = packages_to_search
if not package.is_package():  # else as soon as a model of the package runs
    paths.keep_private()

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
