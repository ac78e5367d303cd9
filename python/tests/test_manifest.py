"""Rules for the whole project: every model described, keyed, connected and used; one SQL for every engine."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from project import PARSED_VARS, PATHS, SMALL

from life_stage.engine.settings import GROUPS, NAMES, RENAMED

PROJECT = Path(__file__).parents[2]
FOLDERS = ("models", "macros", "tests")
SQL = {path: path.read_text(encoding="utf-8") for folder in FOLDERS for path in (PROJECT / folder).rglob("*.sql")}
OVERVIEW = (PROJECT / "models" / "overview.md").read_text(encoding="utf-8")
PUBLISHING = "model.life_stage.published_marts"
SERVED = (
    "months",
    "catalogue",
    "items",
    "neighbours",
    "product_types",
    "type_neighbours",
    "users",
    "habits",
    "browsing",
)
SERVED += ("coefficients", "champions")

# Rows as delivered, duplicates included, have no key.
WITHOUT_KEY = {"stg_action_rows", "stg_item_rows", "stg_child_rows"}
# Views over the whole history, read for a few users or when training is due: testing their key is too expensive.
READ_ON_DEMAND = {
    "observed_features": "month, action_id, feature_id",
    "user_features": "user_id, month, feature",
    "training_features": "row_no, feature",
    "training_vocabulary": "feature",
    "design_matrix": "row_no, feature_id",
    "stage_posteriors": "method, user_id, child_no, month",
    "group_log_likelihoods": "user_id, month, group_id",
    "presence_log_likelihoods": "user_id, month",
    "household_terms": "user_id, month",
    "explained_children": "user_id, child_no",
    "checkout_candidates": "query_id, generator, item_no",
    "checkout_examples": "query_id, item_no",
    "checkout_neighbours": "month, measure, item_no, other_item_no",
}
FROM_VARS_ALONE = {"stages", "age_bins", "experiments"}
PREFIXES = {"stg", "feature", "checkout"}

# Files that may hold engine-specific SQL. Removal of rows is not supported on Spark, where such a run fails.
ENGINE_FILES = {"expressions.sql", "statements.sql", "spark.sql"}
ROWS_TAKEN_AWAY = {"checkout_champions.sql", "unchanged.sql"}
ROWS_CHANGED = r"\b(delete from|update \S+ set|merge into|truncate|alter table|create or replace)\b"
ENGINE_SPECIFIC = "|".join(
    [
        r"\w::\w",
        r"\bas (varchar|hugeint|timestamptz)\b",
        r"\b(by name|qualify|ilike|asof|lambda|group by all|order by all|positional join)\b",
        r"\b(exclude|replace) \(",
        r"\bfilter \(where\b",
        r"(?<![.\w])(list|struct|map)_\w+\(",
        r"(?<![.\w])array_(?!distinct\()\w+\(",
        r"(?<![.\w])(unnest|explode|generate_series|sequence|glob|read_(parquet|csv|json|blob)\w*)\(",
        r"(?<![.\w])(strftime|strptime|date_format|epoch\w*|date_diff|datediff|date_?add|date_sub|to_months)\(",
        r"(?<![.\w])(arg_max|arg_min|max_by|min_by|any_value|mode|median|quantile\w*|percentile\w*|approx_\w+)\(",
        r"(?<![.\w])(hash|xxhash64|timezone|string_agg|listagg|string_split|split)\(",
        r"(?<![.\w])regexp_(matches|full_match|split_to_array|replace)\(",
        r"\btarget\.type\b",
    ]
)


@pytest.fixture(scope="module")
def manifest(parsed):
    """The manifest of the parsed project, without source and warehouse."""
    return json.loads((parsed.folder / "manifest.json").read_text())


def parse(scratch, **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DBT_")}
    environment |= PATHS | {"LIFE_STAGE_TARGET": "duckdb"}
    command = [str(Path(sys.executable).with_name("dbt")), "--no-use-colors", "parse", "--vars", json.dumps(variables)]
    command += ["--target-path", str(scratch / "target"), "--log-path", str(scratch / "logs")]
    finished = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return json.loads((scratch / "target" / "manifest.json").read_text())


@pytest.fixture(scope="module")
def models(manifest):
    return of_type(manifest, "model")


@pytest.fixture(scope="module")
def tables(manifest, models):
    """Models and seeds."""
    return models | of_type(manifest, "seed")


def of_type(manifest, resource_type):
    nodes = manifest["nodes"].values()
    return {node["name"]: node for node in nodes if node["resource_type"] == resource_type}


def reachable(graph, start):
    """All nodes on the way from `start` along a parent or child map, itself left out."""
    found, waiting = set(), [start]
    while waiting:
        new = set(graph[waiting.pop()]) - found
        found |= new
        waiting.extend(new)
    return found


def without_comments(sql):
    """SQL and Jinja as they run."""
    return re.sub(r"\{#.*?#\}|--[^\n]*", "", sql, flags=re.DOTALL)


def other_than(value):
    """Another value of the same kind."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case list():
            return value[:-1]
        case dict():
            return {}
        case _:
            return f"{value}other"


@pytest.mark.slow
def test_the_parsed_project_is_the_same_for_all_values_of_vars_not_read_in_parsing(manifest, tmp_path):
    declared = yaml.safe_load((PROJECT / "dbt_project.yml").read_text())["vars"]
    settings = {f"{group}_{key}": value for group in GROUPS for key, value in declared[group].items()}
    given = {name: value for name, value in declared.items() if name not in GROUPS} | settings
    assert given.keys() >= PARSED_VARS
    others = parse(tmp_path, **SMALL | {name: other_than(v) for name, v in given.items() if name not in PARSED_VARS})
    for name, node in (manifest["nodes"] | manifest["sources"]).items():
        other = (others["nodes"] | others["sources"])[name]
        for key in ("relation_name", "config", "columns"):
            assert other[key] == node[key], (name, key)
        assert reads(other) == reads(node), name


def reads(node):
    return set(node.get("depends_on", {}).get("nodes", []))


def test_every_description_states_its_grain(tables):
    silent = [name for name, node in tables.items() if not node["description"].startswith("One row per ")]
    assert silent == []


def test_every_listed_column_is_described(tables):
    for name, node in tables.items():
        assert [column["name"] for column in node["columns"].values() if not column["description"]] == [], name


def test_column_comments_fit_the_catalogue_of_spark(models):
    # Hive's metastore holds comments of 256 characters; a longer one fails the model.
    for name, node in models.items():
        if node["config"]["persist_docs"].get("columns") and "checkout" not in node["fqn"]:
            assert [c["name"] for c in node["columns"].values() if len(c["description"].strip()) > 256] == [], name


def test_every_column_of_staging_seeds_and_marts_is_listed(tables, base):
    of_table = {}
    for table, column in base.query("select table_name, column_name from information_schema.columns"):
        of_table.setdefault(table, set()).add(column)
    for name, node in tables.items():
        if {"staging", "marts"} & set(node["fqn"]) or node["resource_type"] == "seed":
            assert set(node["columns"]) == of_table[name], name
        else:
            assert set(node["columns"]) <= of_table[name], name


def published(manifest, models):
    """The marts that are published, without the tables of the checkout's service, which no other reader reads."""
    served = {f"checkout_{name}" for name in SERVED} | {"stg_consents_by_purpose", "experiments"}
    marts = [manifest["nodes"][name] for name in models["published_marts"]["depends_on"]["nodes"]]
    assert served < {mart["name"] for mart in marts}
    return [mart for mart in marts if mart["name"] not in served]


def test_every_published_mart_has_a_contract(manifest, models):
    marts = published(manifest, models)
    assert [m["name"] for m in marts if not m["contract"]["enforced"] and m["language"] == "sql"] == []


def test_every_published_mart_has_a_reader_and_a_place_in_the_overview(manifest, models):
    marts = {mart["name"] for mart in published(manifest, models)}
    read = {name.split(".")[-1] for found in manifest["exposures"].values() for name in found["depends_on"]["nodes"]}
    assert marts - read == set()
    listed = OVERVIEW.split("## Published marts")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| \[(\w+)\]", listed, flags=re.M)) == marts


def test_every_model_has_the_group_and_colour_of_its_layer(manifest, models):
    layers = re.findall(r"^\| (\w+) \| (\w+) \| .* \| \[(\w+)\]", OVERVIEW, flags=re.M)
    colours = {node["config"]["group"]: node["config"]["docs"]["node_color"] for node in models.values()}
    assert {group["name"] for group in manifest["groups"].values()} == set(colours) == {layer for layer, _, _ in layers}
    assert len(set(colours.values())) == len(layers) == len({colour for _, colour, _ in layers})
    for node in models.values():
        assert node["config"]["group"] in node["fqn"] and node["docs"]["node_color"] == colours[node["config"]["group"]]
    for layer, _, first in layers:
        assert models[first]["config"]["group"] == layer


def test_the_overview_links_to_models_and_has_the_way_of_the_readme(manifest, models):
    linked = re.findall(r"\[(\w+)\]\(#!/model/model\.life_stage\.(\w+)\)", OVERVIEW)
    assert [names for names in linked if names[0] != names[1] or names[0] not in models] == []
    way = re.findall(r"\[(\w+)\]", OVERVIEW.split("## One action's way")[1].split("##")[0])
    readme = (PROJECT / "README.md").read_text(encoding="utf-8").split("## Find your way")[1].split("\n\n")[0]
    assert way == re.findall(r"\[(\w+)\]", readme) and len(way) == 8
    upstream = reachable(manifest["parent_map"], models["user_stages"]["unique_id"])
    assert {models[name]["unique_id"] for name in way[:-1]} <= upstream


def test_every_table_has_a_key(manifest, tables):
    keys = [test for name, test in of_type(manifest, "test").items() if name.startswith("is_key_")]
    keyed = {test["attached_node"] for test in keys}
    assert {name for name, node in tables.items() if node["unique_id"] not in keyed} == WITHOUT_KEY | set(
        READ_ON_DEMAND
    )


@pytest.mark.parametrize("view", READ_ON_DEMAND)
def test_a_view_read_on_demand_has_a_key(models, base, view):
    key = READ_ON_DEMAND[view]
    assert models[view]["config"]["materialized"] == "view"
    ((n_rows, n_keys),) = base.query(f"select count(*), count(distinct ({key})) from {view}")
    assert n_rows == n_keys and (n_rows > 0 or view.startswith("checkout_"))  # empty here: test_checkout.py
    assert base.query(f"select count(*) from {view} where ({' is null or '.join(key.split(', '))} is null)") == [(0,)]
    description = models[view]["description"].lower()
    assert description.startswith("one row per " + key.split(", ")[0]) and all(
        c in description for c in key.split(", ")
    )


def test_every_model_depends_on_a_source_or_a_seed(manifest, models):
    upstream = {name: reachable(manifest["parent_map"], node["unique_id"]) for name, node in models.items()}
    unfed = {name for name, nodes in upstream.items() if not any(re.match("source|seed", node) for node in nodes)}
    assert unfed == FROM_VARS_ALONE


def test_every_table_serves_a_mart_an_evaluation_or_an_exposure(manifest, tables):
    ends = {node["unique_id"] for node in tables.values() if {"marts", "evaluation"} & set(node["fqn"])}
    ends |= set(manifest["exposures"])
    served = {node["unique_id"]: reachable(manifest["child_map"], node["unique_id"]) for node in tables.values()}
    assert [name for name, nodes in served.items() if name not in ends and not nodes & ends] == []


def test_nothing_is_published_before_every_test_has_passed(manifest):
    """A failing test stops only models built from all tables it reads, so publishing must be one."""
    before = reachable(manifest["parent_map"], PUBLISHING)
    reads = {name: set(test["depends_on"]["nodes"]) for name, test in of_type(manifest, "test").items()}
    too_late = {name: nodes - before for name, nodes in reads.items() if PUBLISHING not in nodes and nodes - before}
    assert too_late == {}


def test_the_checkout_reads_only_staging_and_the_marts_of_the_stages(manifest, models):
    folders = {node["unique_id"]: node["fqn"][1:-1] for node in models.values()}
    for name, node in models.items():
        if "checkout" in node["fqn"]:
            read = [folders.get(parent) for parent in node["depends_on"]["nodes"]]
            assert all(f and (f[0] in ("checkout", "staging") or f == ["life_stage", "marts"]) for f in read), name


def test_names_state_the_grain(models):
    for name in models:
        assert "__" not in name and not re.search(r"(^|_)(v[0-9]+|tmp|temp|final|new|old)(_|$)", name), name
    folders = {"staging": "stg", "features": "feature", "checkout": "checkout"}
    for name, node in models.items():
        prefix = name.split("_")[0]
        if prefix in PREFIXES:
            assert prefix in {folders[folder] for folder in node["fqn"] if folder in folders}, name


def test_engines_differ_only_in_the_engine_macros():
    models = {path: path.read_text(encoding="utf-8") for path in (PROJECT / "models").rglob("*.py")}
    found = {}
    for path, text in (SQL | {path: text.replace("lambda: ", "") for path, text in models.items()}).items():
        pattern = ENGINE_SPECIFIC if path.name in ROWS_TAKEN_AWAY else f"{ENGINE_SPECIFIC}|{ROWS_CHANGED}"
        words = [match.group() for match in re.finditer(pattern, without_comments(text).lower())]
        if words and path.name not in ENGINE_FILES:
            found[str(path.relative_to(PROJECT))] = words
    assert found == {}


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(r"\b(then|else) -?\d*\.\d+\b", id="a branch of CASE that is a decimal number beside doubles"),
        pytest.param(r"\bleft\(", id="left: also a join; substring is none"),
        pytest.param(
            r"\b(count|sum|min|max|avg)\(\s*(distinct )?case\b[^()]*\bin \(select\b", id="a query in an aggregate"
        ),
        pytest.param(
            r"\b(sum|min|max|avg)\((\w+)\) as \2\b(?=(?:(?!\bselect\b)[\s\S])*\bhaving\b[^;]*\(\2\))",
            id="an alias that hides the column that HAVING aggregates",
        ),
    ],
)
def test_sql_has_nothing_that_an_engine_refuses_or_reads_otherwise(pattern):
    """Found on Sail, an engine of Spark's SQL."""
    found = {str(path.relative_to(PROJECT)): re.findall(pattern, without_comments(text)) for path, text in SQL.items()}
    assert {name: words for name, words in found.items() if words} == {}


def test_a_test_begins_with_its_claim_in_a_sentence():
    for path in (PROJECT / "tests").glob("*.sql"):
        assert re.match(r"-- [A-Z].*\.\n", SQL[path]), path.name


def test_every_var_is_declared_validated_and_used():
    declared = yaml.safe_load((PROJECT / "dbt_project.yml").read_text(encoding="utf-8"))["vars"]
    of_groups = {f"{group}_{key}" for group in GROUPS for key in declared[group]}
    assert set(NAMES) == of_groups | (declared.keys() - set(GROUPS))
    assert set(RENAMED.values()) <= set(NAMES) and not set(RENAMED) & set(NAMES)
    texts = [
        *SQL.values(),
        *(path.read_text(encoding="utf-8") for path in (PROJECT / "models").rglob("*.yml")),
    ]
    used = re.findall(r"""\b(?:var|setting)\((?:var, )?["']([a-z_]+)["']""", "".join(texts))
    assert set(used) - set(GROUPS) == set(NAMES)
