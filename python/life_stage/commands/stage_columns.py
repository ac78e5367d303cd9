"""Stage columns of the marts' contracts, written from var stages: life-stage stages"""

import re
from pathlib import Path

import yaml

MARTS = Path("models/life_stage/marts/_marts.yml")
COLUMN = "      - {{ name: p_{}, data_type: double, description: \"{{{{ doc('child_probability') }}}}\" }}\n"
COLUMNS = re.compile(r"(?:^ +- \{ name: p_\w+, .*'child_probability'.*\n)+", flags=re.MULTILINE)


def stages_before(variables: dict) -> list[str]:
    """Names of the stages in age order; stages before birth only if var infer_pregnancy is true."""
    return [s["name"] for s in variables["stages"] if variables["infer_pregnancy"] or s["to_month"] > 0]


def write_stage_columns(project: Path) -> list[str]:
    """Write one column per stage of dbt_project.yml into the contract of the marts with stage columns."""
    names = stages_before(yaml.safe_load((project / "dbt_project.yml").read_text(encoding="utf-8"))["vars"])
    text = (project / MARTS).read_text(encoding="utf-8")
    columns = "".join(COLUMN.format(name) for name in names)
    (project / MARTS).write_text(COLUMNS.sub(lambda _: columns, text), encoding="utf-8")
    return names


def main() -> None:
    """Write the columns in the current project."""
    print(f"{MARTS} declares {', '.join(write_stage_columns(Path.cwd()))}")
    print("A new list of stages needs a new warehouse: set LIFE_STAGE_WAREHOUSE and LIFE_STAGE_PUBLISHED.")
