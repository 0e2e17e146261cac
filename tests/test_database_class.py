"""Instance classes: which can exist, their memory, and how many connections that gives."""

import pytest

from components import database_class


@pytest.mark.parametrize(
    ("instance_class", "gib"),
    [
        ("db.t4g.micro", 1),
        ("db.t3.2xlarge", 32),
        ("db.m7g.large", 8),
        ("db.m8g.48xlarge", 768),
        ("db.r6g.large", 16),
        ("db.r6gd.16xlarge", 512),
        ("db.r8g.xlarge", 32),
        ("db.x2g.large", 32),
        ("db.m9q.large", 8),
    ],
)
def test_memory_is_known_and_a_family_of_next_year_passes(instance_class: str, gib: int) -> None:
    assert database_class.memory_gib(instance_class) == gib
    assert database_class.validate(instance_class) == instance_class


@pytest.mark.parametrize(
    "instance_class",
    ["", "db.t4g", "db.t2.micro", "db.m4.large", "db.t4g.large2", "db.m7g.16xlarges", "db.r6g.24xlarge", "db.M7G.large",
     "db.m7g.3xlarge", "db.serverless", "cache.t4g.micro"],
)  # fmt: skip
def test_what_cannot_exist_or_run_postgresql_is_refused(instance_class: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        database_class.validate(instance_class)


@pytest.mark.parametrize(("instance_class", "connections"), [("db.t4g.micro", 75), ("db.r8g.48xlarge", 5000)])
def test_connections_are_estimated_low_and_end_at_postgresqls_own_limit(instance_class: str, connections: int) -> None:
    assert database_class.max_connections(instance_class) == connections


def test_the_smallest_class_takes_the_largest_load_concurrency() -> None:
    assert database_class.max_connections("db.t4g.micro") > 40
