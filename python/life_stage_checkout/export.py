"""ONNX export of the cart champion with a model card: python -m life_stage_checkout.export FOLDER. Extra: onnx.

One input `columns`, doubles in the order of the model card; one output `probability`, that the candidate is relevant.
"""

import argparse
from pathlib import Path

import duckdb
import numpy as np

from life_stage import paths

OPSET = 17
CHAMPION = """
    select coefficients.*, champions.best_model from checkout_coefficients as coefficients
    inner join checkout_champions as champions using (month, kind, model)
    where kind = 'cart' and month = (select max(month) from checkout_months)
"""
FIGURES = """
    select metric, value, lowest, highest, n_queries from checkout_leaderboard
    where model = ? and kind = 'cart' and period = 'all' and segment = 'all' order by metric
"""
CARD = """# {model}, for carts of {month}

Logistic regression of the probability that a candidate is relevant to a cart: `{model}.onnx`, with the weights of
checkout_coefficients. The model with the highest recall@10 is {best_model}. No
model above var checkout_stage_floor is significantly better than this champion, or there are too few queries to tell.
Trained on the carts of the two months before. The columns are those of checkout_examples.

| column | weight |
|---|---|
| intercept | {intercept:.6g} |
{weights}

Metrics of the evaluated months with 95 % intervals, by regressions trained on the two months before each:

| metric | value | lowest | highest | carts |
|---|---|---|---|---|
{figures}

The model ranks the candidates of checkout_candidates and retrieves none itself. Every run retrains it, so export it
again after a run. Fairness gaps between groups of users are in checkout_fairness_gaps.
"""


def export(warehouse: Path, folder: Path) -> Path:
    """Write the champion and its card into the folder; returns the model's file."""
    with duckdb.connect(str(warehouse), read_only=True) as session:
        rows = session.sql(CHAMPION).df()
        if rows.empty:
            raise SystemExit("the warehouse has no cart champion: build it with var checkout_months above 0")
        facts = rows.iloc[0]
        figures = session.execute(FIGURES, [facts["model"]]).fetchall()
    weights = {name.removeprefix("w_"): float(facts[name]) for name in rows if name.startswith("w_")}
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{facts['model']}.onnx"
    file.write_bytes(linear_model(list(weights.values()), float(facts["intercept"])))
    card = CARD.format(
        model=facts["model"],
        best_model=facts["best_model"],
        month=f"{facts['month']:%Y-%m}",
        intercept=facts["intercept"],
        weights="\n".join(f"| {name} | {weight:.6g} |" for name, weight in weights.items()),
        figures="\n".join(
            f"| {name} | {' | '.join(f'{x:.4f}' for x in numbers)} | {n} |" for name, *numbers, n in figures
        ),
    )
    file.with_suffix(".md").write_text(card, encoding="utf-8")
    return file


def linear_model(weights: list[float], intercept: float) -> bytes:
    """sigmoid(columns x weights + intercept) in double, as an ONNX file."""
    from onnx import TensorProto, checker, helper, numpy_helper

    steps = [
        helper.make_node("MatMul", ["columns", "weights"], ["product"]),
        helper.make_node("Add", ["product", "intercept"], ["log_odds"]),
        helper.make_node("Sigmoid", ["log_odds"], ["probability"]),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["candidates", *width])
        for name, width in (("columns", [len(weights)]), ("probability", []))
    ]
    constants = {"weights": np.array(weights), "intercept": np.array(intercept)}
    initializers = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = helper.make_graph(steps, "checkout", ends[:1], ends[1:], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    checker.check_model(model)
    return model.SerializeToString()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m life_stage_checkout.export", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default="checkout_model")
    print(export(paths.warehouse(), parser.parse_args().folder))
