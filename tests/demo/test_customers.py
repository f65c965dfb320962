import csv
import gzip
from importlib.resources import files

from proxy.demo.customers import CREATE_TABLE, read_customers


def test_every_customer_is_there():
    """The rows are the published file's, in its order, numbered from 1, churn as 0 or 1."""
    names, rows = read_customers()
    text = gzip.decompress(files("proxy.demo").joinpath("telco_churn.csv.gz").read_bytes()).decode()
    published = list(csv.DictReader(text.splitlines()))
    assert [int(row[0]) for row in rows] == list(range(1, len(published) + 1))
    for column, original in (
        ("churned", "churn"),
        ("tenure_months", "tenure"),
        ("contract_type", "contract"),
        ("total_charges", "total_charges"),
    ):
        found = [row[names.index(column)] for row in rows]
        expected = [line[original].replace("Yes", "1") for line in published]
        if column == "churned":
            expected = [value.replace("No", "0") for value in expected]
        assert found == expected


def test_every_column_has_a_place():
    """The table declares exactly the columns that are loaded."""
    names, _ = read_customers()
    declared = [line.split()[0] for line in CREATE_TABLE.splitlines()[2:-1]]
    assert sorted(declared) == sorted(names)
