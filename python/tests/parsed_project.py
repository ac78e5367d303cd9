"""Loaded by the process from which runs are forked: dbt, which has parsed the project once.

Without the folder of LIFE_STAGE_PARSED, which start_forks of project.py sets, only dbt is loaded.
"""

import fcntl
import os
import sys
from pathlib import Path

import pandas  # noqa: F401
import sklearn.linear_model  # noqa: F401
from dbt.cli.main import dbtRunner
from dbt.contracts.files import FileHash
from dbt.contracts.graph.manifest import Manifest
from dbt.parser.manifest import ManifestLoader
from dbt_common.events.base_types import BaseEvent, EventLevel
from dbt_common.events.event_manager import EventManager
from jinja2 import Environment
from project import OPTIONS, PARSED_VARS, PATHS, compile_templates_once, make_shop

from life_stage.commands import command_line  # noqa: F401
from life_stage.engine.dbt_overhead import reduce_dbt_overhead

PARSED = Path("target") / "partial_parse.msgpack"
# The static parser has threads, without which it would wait forever in a fork.
COMMAND = ["--quiet", "--no-static-parser", "parse", *OPTIONS[:2], "--log-level-file", "none"]
COMMAND += ["--project-dir", ".", "--target-path", "target", "--log-path", "logs"]
MANIFEST = "manifest.json"  # beside target, which all shops copy
manifests: dict[bytes, Manifest] = {}


def ignore_other_vars() -> None:
    """A project is parsed again for other PARSED_VARS only, not for another target or its other options.

    One of them is read by published_marts alone.
    """
    describe = ManifestLoader.build_manifest_state_check

    def describe_what_was_parsed(loader: ManifestLoader) -> object:
        given, publishes = loader.root_project.cli_vars, "--select" not in sys.argv or "published_marts" in sys.argv
        read = PARSED_VARS if publishes else PARSED_VARS - {"marts_min_cell_users"}
        loader.root_project.cli_vars = {name: value for name, value in given.items() if name in read}
        described, loader.root_project.cli_vars = describe(loader), given
        described.profile_hash = FileHash.from_contents("")  # empty() equals nothing
        return described

    ManifestLoader.build_manifest_state_check = describe_what_was_parsed


def ignore_debug_events() -> None:
    """Debug events of dbt are not put into words where no log keeps them."""
    fire = EventManager.fire_event

    def fire_others(manager: EventManager, event: BaseEvent, level: EventLevel | None = None, **named) -> None:
        if (level or event.level_tag()) != EventLevel.DEBUG:
            fire(manager, event, level, **named)

    EventManager.fire_event = fire_others


def keep_manifest(parsed: bytes) -> None:
    """The parsed project is read from memory by the first command of each fork."""
    from_msgpack = Manifest.from_msgpack
    manifests[parsed] = from_msgpack(parsed)
    Manifest.from_msgpack = lambda data, *how, **named: manifests.pop(data, None) or from_msgpack(data, *how, **named)


def parse_in(folder: Path) -> None:
    """Parse the project in a folder shared by the test processes, of which the first one makes it."""
    here, environment, compile_it = Path.cwd(), dict(os.environ), Environment.compile
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            make_shop(folder)
        os.chdir(folder)
        os.environ.update(PATHS)
        keep_templates = compile_templates_once(folder / "target" / "templates")
        assert dbtRunner().invoke(COMMAND).success
        (folder / "target" / MANIFEST).replace(folder / MANIFEST)
        keep_templates()
        os.chdir(here)
        os.environ.clear()
        os.environ.update(environment)
        Environment.compile = compile_it
        keep_manifest((folder / PARSED).read_bytes())


reduce_dbt_overhead()
ignore_other_vars()
if "LIFE_STAGE_PARSED" in os.environ:
    parse_in(Path(os.environ["LIFE_STAGE_PARSED"]))
