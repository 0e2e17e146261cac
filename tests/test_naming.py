"""Names: what a stack may be called, and where its logs are."""

import pytest

from components import naming


@pytest.mark.parametrize("stack", ["dev", "prod", "pr-123", "a", "a" * 20])
def test_a_name_that_every_service_takes_is_taken(stack: str) -> None:
    assert naming.prefix("ev-population", stack) == f"ev-population-{stack}"


@pytest.mark.parametrize("stack", ["", "Dev", "dev_1", "dev.1", "1dev", "dev-", "-dev", "dev--1", "a" * 21])
def test_another_is_refused_with_the_rule_the_reason_and_a_way_out(stack: str) -> None:
    with pytest.raises(naming.StackNameError, match=r"S3 and RDS take no more.*pulumi stack rename") as refused:
        naming.prefix("ev-population", stack)
    assert repr(stack) in str(refused.value)
