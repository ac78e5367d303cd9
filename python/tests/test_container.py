"""Container image and compose file against the settings of the project, without a container engine."""

import re
import shlex
import tomllib
from fnmatch import fnmatch

import yaml
from project import PROJECT, PROJECT_FILES

from life_stage import mapping
from life_stage.commands import command_line

LINES = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", (PROJECT / "Dockerfile").read_text(), flags=re.M)).splitlines()
STEPS = [tuple(line.split(maxsplit=1)) for line in LINES if line.strip()]
COMPOSE = yaml.safe_load((PROJECT / "compose.yaml").read_text())
JOB, SERVICE = COMPOSE["services"]["monthly_job"], COMPOSE["services"]["recommendations"]
DOCUMENTS = "".join(path.read_text() for path in [PROJECT / "README.md", *PROJECT.glob("docs/*.md")])


def predicted(instruction):
    return [rest for name, rest in STEPS if name == instruction]


def image_environment():
    return dict(word.split("=", 1) for line in predicted("ENV") for word in shlex.split(line))


def copied():
    return {name.rstrip("/") for line in predicted("COPY") for name in line.split()[:-1]}


def test_the_image_names_one_release_of_a_python_that_the_project_supports():
    (image,) = predicted("FROM")
    release = re.fullmatch(r"python:(3\.[0-9]+)\.[0-9]+-slim-[a-z]+(@sha256:[0-9a-f]{64})?", image)
    lower, upper = re.fullmatch(
        r">=3\.([0-9]+),<3\.([0-9]+)",
        tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["requires-python"],
    ).groups()
    assert int(lower) <= int(release[1].split(".")[1]) < int(upper)


def test_the_image_installs_nothing_but_what_is_locked():
    installs = [
        command
        for line in predicted("RUN")
        for command in line.split("&&")
        if "install " in command and "pip" in command
    ]
    assert [
        "--require-hashes -r requirements-serve.lock" in command or "--no-deps" in command for command in installs
    ] == [
        True,
        True,
    ]
    assert not re.search(r"curl|wget|apt|http", " ".join(LINES))


def test_the_job_is_not_roots_and_what_it_may_write_is_its_own():
    names = [name for name, _ in STEPS]
    user = predicted("USER")[-1]
    assert (
        user.isdigit()
        and int(user) > 0
        and names.index("USER") > max(n for n, name in enumerate(names) if name == "RUN")
    )
    assert f"--uid {user} " in predicted("RUN")[-1] and f"--owner {user} " in predicted("RUN")[-1]
    made = set(predicted("RUN")[-1].split()) & {
        volume.split(":")[1] for volume in JOB["volumes"] if isinstance(volume, str)
    }
    assert made == {"/srv/warehouse", "/srv/marts"}
    assert JOB["read_only"] is True and JOB["cap_drop"] == ["ALL"]


def test_the_image_holds_all_that_a_run_needs_and_the_builder_is_sent_nothing_else():
    assert copied() >= {*PROJECT_FILES, "python", "pyproject.toml", "requirements-serve.lock"}
    assert all((PROJECT / name).exists() for name in copied())
    rules = [line for line in (PROJECT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*" and {rule[1:] for rule in rules if rule.startswith("!")} == copied()
    last = max(number for number, rule in enumerate(rules) if rule.startswith("!"))
    assert not [name for name in copied() for rule in rules[last + 1 :] if fnmatch(name, rule)]


def test_the_image_runs_the_job_of_the_readme():
    assert (
        predicted("CMD") == ['["life-stage", "run"]'] and "`make build` calls `.venv/bin/life-stage run`" in DOCUMENTS
    )
    assert "command" not in JOB and JOB["restart"] == "no"


def test_what_the_job_reads_and_writes_lies_in_its_mounts_and_source_and_mappings_are_read_only():
    paths = image_environment() | {name: value for name, value in JOB["environment"].items() if value}
    mounts = [volume for volume in JOB["volumes"] if isinstance(volume, dict)]
    assert [mount["target"] for mount in mounts] == [paths["LIFE_STAGE_SOURCE"], paths["LIFE_STAGE_MAPPING"]]
    assert all(mount["read_only"] is True for mount in mounts)
    default = re.fullmatch(r"\$\{LIFE_STAGE_MAPPING:-\./(.*)\}", mounts[1]["source"])[1]
    assert default == mapping.FOLDER and mounts[1]["bind"] == {"create_host_path": True}
    writable = {volume.split(":")[1] for volume in JOB["volumes"] if isinstance(volume, str)} | set(JOB["tmpfs"])
    for name in ("LIFE_STAGE_WAREHOUSE", "LIFE_STAGE_PUBLISHED", "DBT_TARGET_PATH", "DBT_LOG_PATH"):
        assert any(paths[name].startswith(f"{folder}/") for folder in writable), name
    assert {volume.split(":")[0] for volume in JOB["volumes"] if isinstance(volume, str)} == set(COMPOSE["volumes"])


def test_every_variable_of_the_container_is_documented_and_none_holds_a_secret():
    named = set(re.findall(r"LIFE_STAGE_[A-Z_]+", "".join(LINES) + str(COMPOSE)))
    assert named and all(f"`{name}" in DOCUMENTS for name in named)
    assert JOB["environment"]["LIFE_STAGE_ID_KEY"] is None and "LIFE_STAGE_ID_KEY" not in image_environment()


def test_the_service_reads_the_published_marts_alone_and_is_open_to_this_machine_alone():
    (marts,) = SERVICE["volumes"]
    written = {
        name: place for name, place in (volume.split(":") for volume in JOB["volumes"] if isinstance(volume, str))
    }
    assert marts["read_only"] is True and marts["target"] == written[marts["source"]]
    assert image_environment()["LIFE_STAGE_PUBLISHED"].startswith(f"{marts['target']}/")
    assert SERVICE["image"] == JOB["image"] and SERVICE["read_only"] is True and SERVICE["cap_drop"] == ["ALL"]
    assert SERVICE["environment"] == {"LIFE_STAGE_ID_KEY": None}
    command_line.parser().parse_args(SERVICE["command"][1:])
    assert all(re.fullmatch(r"127\.0\.0\.1:8000:8000", port) for port in SERVICE["ports"])


def test_duckdb_gets_less_memory_than_the_container():
    gigabytes = re.search(r":-([0-9]+)GB", JOB["environment"]["LIFE_STAGE_MEMORY"])[1]
    assert int(gigabytes) < int(JOB["mem_limit"].removesuffix("g"))
