# Attributions of the stages in user_stages, one row per child and feature of a month: the five that speak most for the
# stage's birth months, and one row of the prior.
from life_stage.filtering.attribution import attribute


def model(dbt, session):
    return attribute(
        session,
        children=dbt.ref("explained_children"),
        weights=dbt.ref("model_weights"),
        age_bins=dbt.ref("age_bins"),
        stages=dbt.ref("stages"),
    )
