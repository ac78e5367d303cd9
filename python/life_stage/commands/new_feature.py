"""Template of a feature group: its SQL file and its entry in var features."""

import re
import sys
from pathlib import Path

FOLDER = Path("models/life_stage/features")
PROJECT_FILE = Path("dbt_project.yml")
TEMPLATE = """\
-- Describe the features in one sentence, and why they depend on the child's age.
-- Return item_id and feature (as here), or search_term and feature, or user_id, month, feature and value.
select item_id, concat('{name}=', brand) as feature
from {{{{ ref("stg_items") }}}}
where brand is not null
"""


def new_feature(name: str, project: Path) -> Path:
    """Write feature_<name>.sql and list it; returns the file. Raises ValueError LS-FEA-004 without any change."""
    name = name.removeprefix("feature_")
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise ValueError(f"LS-FEA-004 {name!r} is not a valid name: use a-z, 0-9 and _; nothing was changed")
    path, settings = project / FOLDER / f"feature_{name}.sql", project / PROJECT_FILE
    text = settings.read_text(encoding="utf-8")
    listed = re.search(r"^  features:\n(?:    - \w+\n)*", text, flags=re.MULTILINE)
    if listed is None:
        raise ValueError(f"LS-FEA-004 {settings} has no list `features` under vars: add it; nothing was changed")
    if path.exists() or f"    - {path.stem}\n" in listed.group():
        raise ValueError(f"LS-FEA-004 {path.stem} exists already: choose another name; nothing was changed")
    path.write_text(TEMPLATE.format(name=name), encoding="utf-8")
    entry = f"    - {path.stem}\n"
    settings.write_text(text[: listed.end()] + entry + text[listed.end() :], encoding="utf-8")
    return path


def main(name: str) -> None:
    """Write the template in the current project."""
    try:
        print(f"created and listed {new_feature(name, Path.cwd())}: write its SQL, then run life-stage run")
    except ValueError as error:
        sys.exit(str(error))
