"""Work of dbt that it repeats for every node, statement or line of the log: done once a run.

dbt itself takes most of the time of a small run. The results are the same; the bounds of the versions in pyproject.toml
hold for what is replaced here.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

import agate
from dbt.clients.jinja import MacroGenerator
from dbt.context.configured import ConfiguredContext
from dbt.context.macros import MacroNamespace, MacroNamespaceBuilder
from dbt.context.manifest import ManifestContext
from dbt.contracts.graph.nodes import Macro
from dbt_common.clients import agate_helper
from dbt_common.events import functions
from dbt_common.exceptions import env_secrets

_build_type_tester, _to_dict = agate_helper.build_type_tester, ManifestContext.to_dict


def reduce_dbt_overhead() -> None:
    """Replace the functions in this process; secrets of the environment are those at the call."""
    secrets = env_secrets()
    functions.env_secrets = lambda: secrets  # read for every line
    agate_helper.build_type_tester = type_tester
    ManifestContext.to_dict = context_as_dict
    MacroNamespaceBuilder.build_namespace = build_namespace


def type_tester(text_columns: Iterable[str], string_null_values: Iterable[str] = ("null", "")) -> agate.TypeTester:
    """The tester of the types of a result with these columns of text; one costs more than most queries."""
    return _type_tester(frozenset(text_columns), tuple(string_null_values))


@cache
def _type_tester(text_columns: frozenset[str], string_null_values: tuple[str, ...]) -> agate.TypeTester:
    return _build_type_tester(text_columns, string_null_values)


def build_namespace(
    builder: MacroNamespaceBuilder, macros_by_package: dict[str, dict[str, Macro]], context: dict[str, Any]
) -> MacroNamespace:
    """The macros of a context, some 900, each bound to it without the calls that dbt spends on each."""
    bound: dict[str, dict[str, MacroGenerator]] = {}
    for package, macros in macros_by_package.items():
        bound[package] = {}
        for name, macro in macros.items():
            generator = bound[package][name] = MacroGenerator.__new__(MacroGenerator)
            vars(generator).update(context=context, macro=macro, node=builder.node, stack=builder.thread_ctx)
    internal: dict[str, MacroGenerator] = {}
    for package in reversed(builder.internal_package_names_order):
        internal.update(bound.get(package, {}))
    own = {package: macros for package, macros in bound.items() if package not in builder.internal_package_names}
    local, root = (own.get(package, {}) for package in (builder.search_package, builder.root_package))
    return MacroNamespace({} if local is root else root, local, internal, own)


def context_as_dict(context: ManifestContext) -> dict[str, Any]:
    """The context of a node with all macros."""
    if not isinstance(context.namespace, MacroNamespace):
        return _to_dict(context)
    found = ConfiguredContext.to_dict(context)  # which macros hold: the same dictionary
    found.update(macros_by_name(context.namespace))
    return found


def macros_by_name(namespace: MacroNamespace) -> dict[str, Any]:
    """The macros of a namespace, of several with the same name the first by its search order."""
    found: dict[str, Any] = {}
    for macros in reversed([*namespace._search_order()]):
        found.update(macros)
    return found
