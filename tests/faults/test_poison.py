"""One poisoned object among 10,000: 9,999 are written, and one reason is given in the server's own words."""

import pyarrow as pa
import pytest

from tests.conftest import Load

ROWS, POISONED = 10_000, 6_789
NONE = {"vectorizer": {"none": {}}, "vectorIndexType": "flat"}
PROPERTIES = [{"name": n, "dataType": [t]} for n, t in (("key", "text"), ("title", "text"), ("day", "date"))]
VECTORS = {"v": {"model": {"fake": 4}, "text_fields": ["title"]}}


@pytest.mark.parametrize("allowed_share", [0.0, 0.001])
def test_one_poisoned_object_among_ten_thousand_fails_alone(load: Load, allowed_share: float) -> None:
    """Month 13 looks like RFC 3339, and only the server knows better."""
    load.create({"properties": PROPERTIES, "vectorConfig": {"v": NONE}})
    days = ["2020-01-01T00:00:00Z"] * ROWS
    days[POISONED] = "2020-13-01T00:00:00Z"
    table = pa.table({"key": [f"k{i}" for i in range(ROWS)], "title": [f"title {i}" for i in range(ROWS)], "day": days})
    failures = {"path": "failures", "allowed_share": allowed_share}
    code, report = load.run(load.job(load.parquet(table, row_group_size=1000), VECTORS, failures=failures))
    counts = report["counts"]
    assert code == (1 if allowed_share == 0 else 0), report
    assert (counts["read"], counts["loaded"], counts["failed"], counts["objects_written"]) == (ROWS, ROWS - 1, 1, ROWS - 1)
    [failure] = load.failures()
    assert (failure["key"], failure["stage"], failure["code"]) == (f"k{POISONED}", "write", "refused")
    assert "2020-13-01" in failure["message"]
