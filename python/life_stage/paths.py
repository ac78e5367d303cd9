"""Paths of a run, from environment variables with the defaults of profiles.yml; the manifest of the published set."""

import json
import os
from pathlib import Path


def source() -> Path:
    """Source folder: LIFE_STAGE_SOURCE."""
    return Path(os.environ.get("LIFE_STAGE_SOURCE", "data/demo"))


def warehouse() -> Path:
    """Warehouse file: LIFE_STAGE_WAREHOUSE."""
    return Path(os.environ.get("LIFE_STAGE_WAREHOUSE", "warehouse/life_stage.duckdb"))


def published() -> Path:
    """Link to the published set: LIFE_STAGE_PUBLISHED."""
    return Path(os.environ.get("LIFE_STAGE_PUBLISHED", "published"))


def read_manifest(link: Path) -> dict | None:
    """The manifest of the published set; None if it is missing or unreadable."""
    try:
        return json.loads((link / "manifest.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def mart_paths(manifest: dict) -> dict[str, str]:
    """{mart: its Parquet file in the set, or the pattern of its files by month}."""
    return {n: f"{n}.parquet" if n in manifest["files"] else f"{n}/*.parquet" for n in manifest["columns"]}
