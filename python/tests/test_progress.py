"""Progress of a run on the console: phases, seconds, the remaining time; errors and what to do next."""

import pytest

from life_stage.commands.progress import Progress, duration, remaining
from life_stage.engine.run_log import errors_of, phases_of, remedy_of


def model(path, **facts):
    name = path.split("/")[-1].removesuffix(".sql")
    return {"resource_type": "model", "name": name, "path": path, "depends_on": {"nodes": []}} | facts


NODES = {
    "model.x.stg": model("staging/months/stg.sql"),
    "model.x.feature": model("life_stage/features/feature.sql"),
    "model.x.own": model("own.sql"),
    "model.x.published_marts": model("life_stage/marts/published_marts.py", name="published_marts"),
    "seed.x.words": {"resource_type": "seed", "path": "words.csv", "name": "words"},
    "test.x.both": {"resource_type": "test", "depends_on": {"nodes": ["model.x.feature", "model.x.stg", "source.x.y"]}},
    "test.x.of_a_source": {"resource_type": "test", "depends_on": {"nodes": ["source.x.y"]}},
}


def test_a_phase_is_the_folder_of_its_models_and_a_test_belongs_to_the_last_table_it_reads():
    assert phases_of([*NODES, "exposure.x.report"], NODES) == {
        "model.x.stg": "staging",
        "model.x.feature": "features",
        "model.x.own": "own.sql",
        "model.x.published_marts": "published",
        "seed.x.words": "staging",
        "test.x.both": "features",
        "test.x.of_a_source": "staging",
    }


@pytest.fixture
def progress():
    """A run that knows its nodes after two seconds."""
    progress = Progress()
    progress.plan({"model.x.a": "staging", "model.x.b": "staging", "model.x.c": "marts"}, 2)
    return progress


def test_seconds_of_the_phases_add_up_to_those_with_running_nodes(progress):
    progress.begin("model.x.a", 2)
    progress.begin("model.x.c", 4)  # two seconds of a alone
    progress.end("model.x.a", True, 8)  # four of both
    progress.begin("model.x.b", 9)  # one of c alone
    progress.end("model.x.c", True, 9)
    progress.end("model.x.b", True, 12)  # three of b alone
    assert progress.seconds == {"start": 2, "staging": 2 + 2 + 3, "marts": 2 + 1}


def test_a_phase_has_a_line_when_its_last_node_has_ended(progress):
    assert progress.end("model.x.a", True, 3) is None
    assert progress.end("exposure.x.report", True, 3) is None, "no part of the plan"
    assert progress.end("model.x.c", True, 3) == "marts       1 of 1 nodes; 66 % of all nodes after 3 s"
    progress.begin("model.x.b", 4)
    assert progress.waiting(40) == "            ... b; 66 % of all nodes after 40 s"
    assert (
        progress.end("model.x.b", True, 190)
        == "staging     2 of 2 nodes in 3 min 6 s; 100 % of all nodes after 3 min 10 s"
    )
    assert progress.end("model.x.b", True, 191) is None, "once"


def test_after_a_failure_no_time_remains_and_skipped_phases_have_no_line(progress):
    progress.before = {"staging": 10, "marts": 10}
    assert progress.end("model.x.a", True, 3) is None
    assert progress.end("model.x.b", False, 3) == "staging     1 of 2 nodes; 66 % of all nodes after 3 s"
    assert progress.end("model.x.c", False, 3) is None


def test_the_remaining_time_is_that_of_the_last_run_s_phases_that_are_left(progress):
    progress.before = {"start": 9, "staging": 20, "marts": 8, "report": 3}
    assert progress.line("staging", "").endswith("about 31 s remain"), "nothing has run but the start"
    progress.end("model.x.c", True, 2)
    progress.begin("model.x.a", 2)
    assert progress.end("model.x.a", True, 8) is None
    assert progress.line("staging", "").endswith("about 13 s remain"), "half the nodes, not the 14 s that are left"


def test_an_estimate_needs_a_last_run():
    assert remaining({}, {"staging": 1}, {}) is None
    assert remaining({"staging": 4, "marts": 2}, {"staging": 9}, {}) == 2, (
        "what takes longer than before is never below 0"
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99.4, "99 s"), (99.6, "1 min 40 s"), (179.9, "3 min 0 s")]
)
def test_durations_are_words(seconds, text):
    assert duration(seconds) == text


def test_errors_have_a_code_each_once_and_no_value_of_the_engine():
    text = (
        "Runtime Error in model m (m.sql)\n  LS-RUN-003 the disk is full: free disk space\n  user Zoë 42: No space left"
    )
    error = {"code": "LS-RUN-003", "message": "the disk is full: free disk space", "node": "m"}
    assert errors_of("m", "model", f"{text}\n{text}") == [error]
    for kind, said, code in (
        ("model", "Runtime Error in model m (m.sql)\n  Conversion Error: Could not convert 'Zoë 42'", "LS-RUN-009"),
        ("test", "Got 3 results, configured to fail if != 0", "LS-RUN-008"),
        ("test", "Runtime Error in test m\n  Conversion Error: 'Zoë 42'", "LS-RUN-009"),
        ("operation", "", "LS-RUN-009"),
    ):
        (error,) = errors_of("m", kind, said)
        assert error["code"] == code and "m failed" in error["message"] and "Zoë" not in error["message"]


def test_the_next_action_is_the_remedy_of_the_code():
    remedy = "compare the delivery; if it is right, run once with rejections_on_shift: warn"
    assert remedy_of(f"3 rows: {remedy}; nothing was changed") == remedy
    assert (
        remedy_of("LS-SRC-006 a.csv cannot be read: a: b: deliver it again; no month was changed") == "deliver it again"
    )
    assert remedy_of("no colon") == "no colon"
