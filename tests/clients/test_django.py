"""Django's ORM: PREDICT as an annotation, in raw queries and beside transactions.

The server is found by the environment; `default` writes parameters into the text, as Django does
unless it is told otherwise, `bound` sends them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import django
import pytest
from django.conf import settings

DATABASE = {
    "ENGINE": "django.db.backends.postgresql",
    "NAME": "test_django",
}
settings.configure(
    DATABASES={"default": DATABASE, "bound": {**DATABASE, "OPTIONS": {"server_side_binding": True}}}
)
django.setup()

from django.db import ProgrammingError, connections, models, transaction  # noqa: E402
from django.db.models.expressions import RawSQL  # noqa: E402

from tests.clients.answers import Answers, close  # noqa: E402
from tests.clients.conftest import Login  # noqa: E402


class Customer(models.Model):
    """A row of `customers`, as far as the model needs it."""

    customer_id = models.IntegerField(primary_key=True)
    tenure_months = models.IntegerField()
    monthly_charges = models.FloatField()
    contract_type = models.TextField()

    class Meta:
        app_label = "shop"
        db_table = "customers"
        managed = False


class Predict(models.Func):
    """A call of PREDICT, of the model of that name."""

    template = "PREDICT(%(model)s, %(expressions)s)"
    output_field = models.FloatField()


FEATURES = ("tenure_months", "monthly_charges", "contract_type")
RISK = Predict(*FEATURES, model="churn")


@pytest.fixture(params=["default", "bound"])
def alias(
    request: pytest.FixtureRequest, login: Login, environment: dict[str, str]
) -> Iterator[str]:
    """A database, as Django calls a connection."""
    assert login.database == DATABASE["NAME"]
    yield request.param
    connections.close_all()


@pytest.fixture
def customers(alias: str) -> Any:
    """The first customers, in their order."""
    return Customer.objects.using(alias).filter(customer_id__lte=5).order_by("customer_id")


def test_annotate(customers: Any, answers: Answers) -> None:
    """A score is an attribute of the objects, a value of dicts and tuples."""
    scored = customers.annotate(risk=RISK)
    assert [(each.pk, each.risk) for each in scored] == answers.first(5)
    assert list(scored.values_list("customer_id", "risk")) == answers.first(5)
    assert list(scored.values("risk")) == [{"risk": risk} for _, risk in answers.first(5)]
    assert [(each.pk, each.risk) for each in scored.iterator(chunk_size=2)] == answers.first(5)


def test_around(customers: Any, answers: Answers) -> None:
    """What stands around an annotation is as without it: get, slices, count, exists, in_bulk."""
    scored = customers.annotate(risk=RISK)
    assert scored.get(pk=2).risk == close(answers.risk(2))
    assert [each.risk for each in scored[1:3]] == [risk for _, risk in answers.first(3)[1:]]
    assert scored.first().risk == close(answers.risk(1))
    assert scored.count() == 5
    assert scored.exists()
    assert scored.in_bulk([3])[3].risk == close(answers.risk(3))


@pytest.mark.parametrize(
    "call",
    [
        Predict(*FEATURES, model='"churn"'),
        Predict(*FEATURES, model="'churn:1.0'"),
        RawSQL("PREDICT(churn, tenure_months, monthly_charges, contract_type)", []),
    ],
    ids=["quoted", "version", "RawSQL"],
)
def test_ways_to_call(customers: Any, answers: Answers, call: Any) -> None:
    """The model's name may be quoted, a version, and all of it SQL of one's own."""
    got = customers.annotate(risk=call).values_list("customer_id", "risk")
    assert list(got) == answers.first(5)


def test_arguments(customers: Any, answers: Answers) -> None:
    """Features may be expressions and values."""
    later = Predict(
        models.F("tenure_months") + 12, models.Value(50.0), models.Value("One year"), model="churn"
    )
    got = customers.annotate(later=later).values_list("later", flat=True)
    assert list(got) == [
        close(answers.score(answers.customers[i][0] + 12, 50, "One year")) for i in range(1, 6)
    ]


def test_the_model_is_no_value(alias: str, customers: Any, answers: Answers) -> None:
    """A bound name calls a function of the user's, which is not there; a written one is a name."""
    call = Predict(models.Value("churn"), *FEATURES, template="PREDICT(%(expressions)s)")
    got = customers.annotate(risk=call).values_list("customer_id", "risk")
    if alias == "default":
        assert list(got) == answers.first(5)
        return
    with pytest.raises(ProgrammingError) as caught:
        list(got)
    assert caught.value.__cause__.sqlstate == "42883"


def test_raw(alias: str, answers: Answers) -> None:
    """A raw query may have a star; so may a cursor's."""
    query = "SELECT *, PREDICT(churn, *) AS risk FROM customers WHERE customer_id <= %s"
    got = Customer.objects.using(alias).raw(query, [5])
    assert sorted((each.pk, each.risk) for each in got) == answers.first(5)
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT PREDICT(churn, %s, %s, %s)", [6, 79.99, "One year"])
        assert cursor.fetchone() == (close(answers.score(6, 79.99, "One year")),)


def test_what_has_changed(alias: str, customers: Any, answers: Answers) -> None:
    """A score is that of the row as the transaction sees it."""
    months, charges, contract = answers.customers[1]
    with transaction.atomic(using=alias):
        customers.filter(pk=1).update(tenure_months=models.F("tenure_months") + 10)
        changed = customers.annotate(risk=RISK).get(pk=1).risk
        transaction.set_rollback(True, using=alias)
    assert changed == close(answers.score(months + 10, charges, contract))
    assert customers.annotate(risk=RISK).get(pk=1).risk == close(answers.risk(1))


def test_introspection(alias: str, login: Login) -> None:
    """What inspectdb asks is answered."""
    connection = connections[alias]
    with connection.cursor() as cursor:
        described = connection.introspection.get_table_description(cursor, "customers")
        keys = connection.introspection.get_constraints(cursor, "customers")
    assert [column.name for column in described][:3] == ["customer_id", "female", "senior_citizen"]
    assert keys["customers_pkey"]["primary_key"]


def test_error(alias: str, customers: Any, answers: Answers) -> None:
    """A model that is not there is a ProgrammingError; a savepoint holds."""
    with transaction.atomic(using=alias):
        with pytest.raises(ProgrammingError) as caught, transaction.atomic(using=alias):
            customers.annotate(risk=Predict("tenure_months", model="chrun")).first()
        assert caught.value.__cause__.sqlstate == "42704"
        assert customers.annotate(risk=RISK).first().risk == close(answers.risk(1))


def test_iterator_by_a_cursor(
    alias: str, customers: Any, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """iterator() reads from a cursor made by SQL, where it may."""
    monkeypatch.setitem(connections[alias].settings_dict, "DISABLE_SERVER_SIDE_CURSORS", False)
    scored = customers.annotate(risk=RISK).iterator(chunk_size=2)
    assert [(each.pk, each.risk) for each in scored] == answers.first(5)


def test_filter_order_and_aggregate(customers: Any, answers: Answers) -> None:
    """An annotation may choose, order and be summed up."""
    scored = customers.annotate(risk=RISK)
    risks = {i: answers.risk(i) for i in range(1, 6)}
    assert {each.pk for each in scored.filter(risk__gt=0.4)} == {
        i for i, risk in risks.items() if risk > 0.4
    }
    ordered = sorted(risks, key=lambda i: risks[i])
    assert [each.pk for each in scored.order_by("risk")] == ordered
    assert [each.pk for each in scored.order_by("-risk")[:2]] == ordered[:2:-1]
    assert scored.aggregate(mean=models.Avg("risk")) == {"mean": close(sum(risks.values()) / 5)}
    assert scored.filter(risk__gt=0.4).count() == sum(risk > 0.4 for risk in risks.values())


def test_distinct_and_explain(customers: Any) -> None:
    """distinct() is a subquery; explain() is EXPLAIN."""
    scored = customers.annotate(risk=RISK)
    assert scored.values("risk").distinct().count() == 5
    assert "customers" in scored.explain()
