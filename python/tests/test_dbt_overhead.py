"""Work that dbt is spared has the results of dbt's own."""

from datetime import date

import pytest
from dbt.clients.jinja import MacroGenerator, MacroStack
from dbt.context.macros import MacroNamespace, MacroNamespaceBuilder
from dbt.context.manifest import ManifestContext
from dbt.contracts.graph.nodes import Macro
from dbt_common.clients import agate_helper
from dbt_common.events import functions

from life_stage.engine import dbt_overhead


@pytest.fixture
def reduced(monkeypatch):
    """The functions replaced, for one test."""
    monkeypatch.setenv("DBT_ENV_SECRET_TOKEN", "s3cret")
    monkeypatch.setattr(functions, "env_secrets", functions.env_secrets)
    monkeypatch.setattr(agate_helper, "build_type_tester", agate_helper.build_type_tester)
    monkeypatch.setattr(ManifestContext, "to_dict", ManifestContext.to_dict)
    monkeypatch.setattr(MacroNamespaceBuilder, "build_namespace", MacroNamespaceBuilder.build_namespace)
    dbt_overhead.reduce_dbt_overhead()


@pytest.mark.parametrize("texts", [(), ("a",), ("b", "a")])
def test_results_have_the_types_that_dbt_finds(reduced, texts):
    rows = [["1", "", date(2017, 1, 1)], ["null", "2.5", None]]
    for nulls in (("null", ""), ()):
        found, expected = (
            build(text_columns=texts, string_null_values=nulls).run(rows, ["a", "b", "c"])
            for build in (agate_helper.build_type_tester, dbt_overhead._build_type_tester)
        )
        assert [type(one) for one in found] == [type(one) for one in expected]
        assert [one.null_values for one in found] == [one.null_values for one in expected]


def test_of_macros_with_the_same_name_the_one_counts_that_dbt_finds():
    namespace = MacroNamespace(
        global_namespace={"root": 1, "both": 2},
        local_namespace={"both": 3, "adapter": 4},
        global_project_namespace={"adapter": 5, "dbt_macro": 6, "life_stage": 7},
        packages={"life_stage": {"root": 1}},
    )
    assert dbt_overhead.macros_by_name(namespace) == dict(namespace)


@pytest.mark.parametrize("root", ["host", "life_stage", "dbt"])
@pytest.mark.parametrize("searched", ["host", "life_stage", "dbt_duckdb"])
def test_a_node_has_the_macros_that_dbt_finds_bound_to_it(root, searched):
    def macro(package, name):
        return Macro.from_dict(
            {
                "name": name,
                "macro_sql": "",
                "package_name": package,
                "unique_id": f"macro.{package}.{name}",
                "path": "",
                "original_file_path": "",
                "resource_type": "macro",
            }
        )

    names = {"dbt": ["run", "table"], "dbt_duckdb": ["table", "view"], "life_stage": ["run", "view"], "host": ["run"]}
    macros = {package: {name: macro(package, name) for name in of} for package, of in names.items()}
    context, node, stack = {"a": 1}, object(), MacroStack()
    built = []
    for build in (MacroNamespaceBuilder.build_namespace, dbt_overhead.build_namespace):
        built.append(build(MacroNamespaceBuilder(root, searched, stack, ["dbt_duckdb", "dbt"], node), macros, context))
    theirs, ours = (flat(namespace) for namespace in built)
    assert ours == theirs and len(ours) >= 6
    expected = MacroGenerator(macros["host"]["run"], context, node, stack)
    found = built[1].get_from_package("host", "run")
    assert type(found) is MacroGenerator and vars(found) == vars(expected)


def flat(namespace):
    """{(place, name): macro} of a namespace."""
    places = {"local": namespace.local_namespace, "global": namespace.global_namespace}
    places |= {"internal": namespace.global_project_namespace} | namespace.packages
    return {(place, name): found.macro.unique_id for place, of in places.items() for name, found in of.items()}


def test_secrets_of_the_environment_are_in_no_line_of_the_log(reduced):
    assert functions.env_scrubber("token s3cret") == "token *****"
