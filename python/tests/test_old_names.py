"""Old names of vars and targets: accepted with a warning, with the effect of the new ones."""

import pytest
from project import assert_stops

WARNING = "LS-VAR-007"


@pytest.mark.parametrize(("old", "new"), [("restate_from", "backfill_from"), ("checkout_cases", "checkout_queries")])
def test_a_var_under_its_old_name_is_validated_like_the_new_one(shop, old, new):
    assert_stops(shop, "LS-VAR-002", f"var {new} is 'soon'", **{old: "soon"})


def test_a_var_under_its_old_name_has_its_effect_and_a_warning(shop):
    shop.change(
        "insert into stage_coefficients"
        " select * replace ('newer' as model_version, date '2017-03-01' as trained_through) from stage_coefficients"
    )
    finished = shop.start(only="model_registry month_model_assignments", restate_from="2017-01")
    assert finished.exit_code == 0, finished.output[-3000:]
    assert f"{WARNING} var restate_from is called backfill_from" in finished.output
    months = "select strftime(month, '%Y-%m') from month_model_assignments where model_version = 'newer' order by 1"
    assert shop.query(months) == [("2017-01",), ("2017-02",)]


def test_the_old_target_is_the_sandbox(shop):
    """It requires a key, unlike the default target."""
    old = shop.start(environment={"LIFE_STAGE_TARGET": "hardened"})
    assert old.exit_code != 0 and "LS-PRI-002" in old.output
