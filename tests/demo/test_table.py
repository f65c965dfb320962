from proxy.demo.table import format_table


def test_it_looks_as_psql_would_print_it():
    """Headings are centred, numbers stand right, words left, NULL is nothing (psql, PG 15)."""
    table = format_table(
        ["id", "contract_type", "p"], [(1, "Month-to-month", 0.25), (12, None, None)]
    )
    assert table.splitlines() == [
        " id | contract_type  |   p",
        "----+----------------+--------",
        "  1 | Month-to-month | 0.2500",
        " 12 |                |",
    ]


def test_a_table_may_be_empty():
    """Without rows the headings still stand over their line."""
    assert format_table(["a", "bb"], []) == " a | bb\n---+----"
