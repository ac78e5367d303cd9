"""Source files that cannot be read completely: the run fails before staging."""

import pytest
from project import assert_stops

FEBRUARY = "month=2017-02/part-0000.parquet"


def csv(n_rows: int, odd: str) -> bytes:
    """A CSV file of actions: valid rows, an odd one and a valid one."""
    good = "x,u1,2017-02-03 10:00:00,click,1\n"
    return f"action_id,user_id,occurred_at,action,item_id\n{good * n_rows}{odd}\n{good}".encode()


def flipped(contents: bytes) -> bytes:
    """Contents damaged in the middle, with an intact beginning and end."""
    middle = len(contents) // 3
    return contents[:middle] + bytes(byte ^ 0xFF for byte in contents[middle:-middle]) + contents[-middle:]


@pytest.mark.parametrize(
    ("path", "change", "fact"),
    [
        pytest.param(
            "few.csv",
            lambda _: csv(3, "x,u1,2017-02-03 10:00:00,click,1,one,more"),
            "LS-SRC-006 actions/few.csv is empty, or its rows differ in their number of columns",
            marks=pytest.mark.fault(
                "Files and columns", "empty, truncated, damaged, ragged or non-UTF-8 file", "LS-SRC-006, no change"
            ),
        ),
        pytest.param(
            "many.csv",
            lambda _: csv(30_000, "x,u1"),
            "LS-SRC-006 actions/many.csv cannot be read: Invalid Input Error: CSV Error on Line: 30002",
            marks=[
                pytest.mark.fault(
                    "Files and columns",
                    "empty, truncated, damaged, ragged or non-UTF-8 file",
                    "LS-SRC-006, no change",
                ),
                pytest.mark.slow,
            ],
        ),
        pytest.param(
            "none.csv",
            lambda _: b"",
            "LS-SRC-006 actions/none.csv is empty, or",
            marks=[
                pytest.mark.fault(
                    "Files and columns", "empty, truncated, damaged, ragged or non-UTF-8 file", "LS-SRC-006, no change"
                ),
                pytest.mark.slow,
            ],
        ),
        pytest.param(
            "none.parquet",
            lambda _: b"",
            "LS-SRC-006 actions/none.parquet cannot be read",
            marks=pytest.mark.fault(
                "Files and columns", "empty, truncated, damaged, ragged or non-UTF-8 file", "LS-SRC-006, no change"
            ),
        ),
        pytest.param(
            "latin.csv",
            lambda _: csv(3, "x,ü,2017-02-03 10:00:00,click,1").decode().encode("latin-1"),
            "LS-SRC-006 actions/latin.csv cannot be read",
            marks=[
                pytest.mark.fault(
                    "Files and columns", "empty, truncated, damaged, ragged or non-UTF-8 file", "LS-SRC-006, no change"
                ),
                pytest.mark.slow,
            ],
        ),
        pytest.param(
            FEBRUARY,
            lambda contents: contents[: len(contents) // 2],
            f"LS-SRC-006 actions/{FEBRUARY} cannot be read",
            marks=[
                pytest.mark.fault(
                    "Files and columns", "empty, truncated, damaged, ragged or non-UTF-8 file", "LS-SRC-006, no change"
                ),
                pytest.mark.slow,
            ],
        ),
        pytest.param(
            FEBRUARY,
            flipped,
            f"LS-SRC-006 actions/{FEBRUARY} cannot be read",
            marks=[
                pytest.mark.fault(
                    "Files and columns", "empty, truncated, damaged, ragged or non-UTF-8 file", "LS-SRC-006, no change"
                ),
                pytest.mark.slow,
            ],
        ),
    ],
)
def test_a_partly_unreadable_file_stops_the_run(shop, path, change, fact):
    file = shop.source / "actions" / path
    file.write_bytes(change(file.read_bytes() if file.exists() else b""))
    assert_stops(shop, "LS-SRC-006", fact)
