"""The recording mocks themselves: what is asserted on a recording is really asserted."""

import pulumi
import pulumi_aws as aws
import pytest

from tests.pulumi_mocks import Recording, granted, record, under


def refuse(_: object) -> None:
    raise AssertionError("an assertion in an apply ran")


def test_an_assertion_in_an_apply_that_nobody_returned_still_fails_the_run() -> None:
    with pytest.raises(AssertionError, match="ran"):
        record(lambda: aws.sns.Topic("topic").arn.apply(refuse) and None)


def test_an_assertion_in_an_apply_on_an_export_fails_the_run() -> None:
    with pytest.raises(AssertionError, match="ran"):
        record(lambda: pulumi.export("arn", aws.sns.Topic("topic").arn.apply(refuse)))


def test_what_was_registered_before_a_failure_is_seen() -> None:
    recording = Recording()
    with pytest.raises(AssertionError, match="ran"):
        record(lambda: aws.sns.Topic("topic").arn.apply(refuse) and None, recording=recording)
    assert recording.names("aws:sns/topic:Topic") == {"topic"}


def test_absence_is_seen_only_after_every_registration_is_in() -> None:
    def slow_chain() -> None:
        first = aws.sns.Topic("first")
        second = aws.sns.Topic("second", display_name=first.arn)
        aws.sns.Topic("third", display_name=second.arn)

    assert record(slow_chain).names("aws:sns/topic:Topic") == {"first", "second", "third"}


def test_secrets_are_opened_and_known_as_secrets() -> None:
    topic = record(lambda: aws.sns.Topic("topic", display_name=pulumi.Output.secret("s"))).one("aws:sns/topic:Topic")
    assert topic.inputs["displayName"] == "s"
    assert topic.secret_inputs == {"displayName"}


def test_a_grant_under_a_condition_is_not_the_grant_without_it() -> None:
    condition = {"StringEquals": {"aws:SourceAccount": "123456789012"}}
    statement = {"Effect": "Allow", "Action": ["sns:Publish"], "Resource": ["t"]}
    assert granted({"Statement": [statement]}) == {"sns:Publish": {"t"}}
    limited = granted({"Statement": [{**statement, "Condition": condition}]})
    assert limited == {"sns:Publish": {under("t", condition)}} != {"sns:Publish": {"t"}}
    other = granted({"Statement": [{**statement, "Condition": {"StringNotEquals": condition["StringEquals"]}}]})
    assert other != limited
