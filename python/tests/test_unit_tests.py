"""dbt's unit tests, beside the models: they need no data, so the monthly job leaves them out (selectors.yml)."""

import json

from project import SMALL


def test_every_unit_test_of_the_models_passes(shop):
    finished = shop.dbt("test", "--select", "test_type:unit", "--vars", json.dumps(SMALL))
    assert finished.exit_code == 0, finished.output[-3000:]
    assert finished.output.count(" PASS ") > 25
