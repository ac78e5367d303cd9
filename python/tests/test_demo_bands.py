"""Figures of the simulated data within the ranges in which comparisons of methods are meaningful."""

import duckdb
import numpy as np
import pytest
from scipy.sparse import csr_matrix, hstack
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import cross_val_predict
from threadpoolctl import threadpool_limits

from life_stage_demo.generate import generate
from life_stage_demo.months import month_number
from life_stage_demo.parameters import Parameters
from life_stage_demo.simulation import Run

N_USERS, N_MONTHS = 4_000, 24
STAGE = """case when age < 0 then 0 when age < 6 then 1 when age < 12 then 2 when age < 24 then 3
    when age < 36 then 4 else 5 end"""


@pytest.fixture(autouse=True)
def one_thread():
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bands") / "source"
    generate(Run(N_USERS, month_number("2015-03"), N_MONTHS, 1, Parameters(dirty_share=0.0)), folder)
    connection = duckdb.connect()
    connection.execute(f"""create table actions as
        select *, cast(date_trunc('month', occurred_at) as date) as month_on
        from read_parquet('{folder}/actions/*/*.parquet', hive_partitioning = false)""")
    connection.execute(f"create table items as from '{folder}/items.parquet'")
    connection.execute(f"""create table labels as
        select user_id, month_on, datediff('month', birth_date, month_on) as age, {STAGE} as stage
        from (select user_id, any_value(birth_date) as birth_date from '{folder}/truth/children.parquet'
            group by user_id having count(*) = 1), (select distinct month_on from actions)
        where age >= -9 and age < 84""")
    yield connection
    connection.close()


def test_three_user_months_in_five_are_empty_and_more_in_february(warehouse):
    active, february = warehouse.execute("""select count(distinct (user_id, month_on)),
        count(distinct (user_id, month_on)) filter (month(month_on) = 2) from actions""").fetchall()[0]
    assert 0.55 < 1 - active / (N_USERS * N_MONTHS) < 0.65
    assert 0.66 < 1 - february / (N_USERS * 2) < 0.78


def test_actions_mix_as_in_public_logs(warehouse):
    counts = dict(warehouse.execute("select action, count(*) from actions group by action").fetchall())
    of_items = {action: n / (sum(counts.values()) - counts["search"]) for action, n in counts.items()}
    assert 0.91 < of_items["click"] < 0.94
    assert 0.01 < of_items["collect"] < 0.03
    assert 0.035 < of_items["cart"] < 0.044
    assert 0.016 < of_items["purchase"] < 0.020


def test_november_is_the_peak(warehouse):
    months = warehouse.execute("select month(month_on), count(*) from actions group by 1 order by 2 desc").fetchall()
    assert months[0][0] == 11
    assert months[-1][0] == 2


def test_no_stage_has_more_than_three_tenths_of_the_user_months(warehouse):
    counts = warehouse.execute("select count(*) from labels group by stage order by stage").fetchnumpy()
    shares = next(iter(counts.values()))
    shares = shares / shares.sum()
    assert len(shares) == 6 and shares.min() > 0.07 and shares.max() < 0.30


def test_one_purchase_predicts_the_stage_about_as_well_as_in_reality(warehouse):
    rows = warehouse.execute("""select category, leaf_category, stage from actions join items using (item_id)
        join labels using (user_id, month_on) where action = 'purchase'
        qualify row_number() over (
            partition by user_id order by md5(cast(action_id as varchar))
        ) = 1""").fetchnumpy()
    stage = np.asarray(rows["stage"])
    names = [
        np.unique(np.asarray(rows[name], dtype=str), return_inverse=True)[1] for name in ("category", "leaf_category")
    ]
    features = hstack([csr_matrix(np.eye(codes.max() + 1)[codes]) for codes in names]).tocsr()
    order = np.random.default_rng(1).permutation(len(stage))
    p = cross_val_predict(
        LogisticRegression(C=0.3, max_iter=200), features[order], stage[order], method="predict_proba"
    )
    assert 0.26 < (p.argmax(axis=1) == stage[order]).mean() < 0.37
    assert 1.55 < log_loss(stage[order], p) < 1.72


def test_one_month_alone_gives_two_in_five_correct_stages(warehouse):
    """The stateless baseline on this month and the same month last year, the prior where both are empty."""
    warehouse.execute("""create table tokens as
        select user_id, month_on, token, ln(1 + count(distinct cast(occurred_at as date))) as x
        from actions join items using (item_id), unnest([leaf_category, category || coalesce(size, ''),
            coalesce(list_extract(string_split(title, ' '), 2), ''), properties]) as named(token)
        group by user_id, month_on, token""")
    found = warehouse.execute("""
        with known as (
            select token, row_number() over (order by token) - 1 as number
            from tokens group by token having count(*) >= 100
        ), numbered as (
            select
                *,
                row_number() over (order by user_id, month_on) - 1 as line,
                max(number) over () + 1 as n_known
            from labels, (select max(number) as number from known)
        )
        select
            line,
            known.number + case when tokens.month_on = numbered.month_on then 0 else n_known end as number,
            x
        from numbered join tokens on tokens.user_id = numbered.user_id
            and tokens.month_on in (numbered.month_on, cast(numbered.month_on - interval 1 year as date))
        join known using (token)""").fetchnumpy()
    labels = warehouse.execute("select user_id, stage from labels order by user_id, month_on").fetchnumpy()
    stage, is_train = np.asarray(labels["stage"]), np.asarray(labels["user_id"]) % 2 == 0
    x = csr_matrix((found["x"], (found["line"], found["number"])), shape=(len(stage), found["number"].max() + 1))
    has_row = np.diff(x.indptr) > 0
    model = LogisticRegression(C=0.3, max_iter=40, tol=1e-2).fit(x[is_train & has_row], stage[is_train & has_row])
    predicted = np.full(len(stage), np.bincount(stage[is_train]).argmax())
    predicted[has_row] = model.predict(x[has_row])
    assert 0.36 < (predicted == stage)[~is_train].mean() < 0.46
