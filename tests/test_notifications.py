"""The topic: encrypted, told by a closed list, read by the addresses in config."""

from tests.pulumi_mocks import ACCOUNT, REGION, record_stack

TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:ev-population-dev"
KEY = "arn:aws:kms:ap-northeast-1:123456789012:key/11111111-2222"


def test_the_topic_is_named_after_the_stack_and_encrypted_with_its_key() -> None:
    topic = record_stack("dev").one("aws:sns/topic:Topic").inputs
    assert topic["name"] == "ev-population-dev"
    assert topic["kmsMasterKeyId"] == KEY, "alarms cannot publish under an AWS-managed key"


def test_alarms_eventbridge_and_the_state_machine_may_publish_and_nobody_else() -> None:
    policy = record_stack("dev").one("aws:sns/topicPolicy:TopicPolicy")
    assert policy.inputs["arn"] == TOPIC
    by_sid = {statement["Sid"]: statement for statement in policy.document("policy")["Statement"]}
    assert set(by_sid) == {"AlarmsOfThisStack", "EventBridge", "NobodyButTheStateMachine", "TlsOnly"}
    assert all(statement["Resource"] == [TOPIC] for statement in by_sid.values())
    assert all(statement["Action"] == ["sns:Publish"] for statement in by_sid.values())

    alarms = by_sid["AlarmsOfThisStack"]
    assert alarms["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert alarms["Condition"] == {
        "ArnLike": {"aws:SourceArn": f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:ev-population-dev-*"},
        "StringEquals": {"aws:SourceAccount": ACCOUNT},
    }
    assert by_sid["EventBridge"]["Principal"] == {"Service": "events.amazonaws.com"}

    nobody = by_sid["NobodyButTheStateMachine"]
    assert nobody["Effect"] == "Deny"
    assert nobody["Condition"] == {
        "ArnNotEquals": {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/ev-population-dev-states"},
        "Bool": {"aws:PrincipalIsAWSService": "false"},
    }


def test_the_role_that_may_publish_is_the_state_machines_own() -> None:
    recording = record_stack("dev")
    machine = recording.one("aws:sfn/stateMachine:StateMachine")
    assert machine.inputs["roleArn"] == f"arn:aws:iam::{ACCOUNT}:role/ev-population-dev-states"


def test_every_alarm_is_named_so_that_the_policy_lets_it_publish() -> None:
    alarms = record_stack("dev").of("aws:cloudwatch/metricAlarm:MetricAlarm")
    assert all(alarm.inputs["name"].startswith("ev-population-dev-") for alarm in alarms)


def test_every_address_has_a_subscription_that_the_order_of_addresses_does_not_move() -> None:
    typ = "aws:sns/topicSubscription:TopicSubscription"
    one = record_stack("dev", alertEmails='["a@example.com", "b@example.com"]')
    other = record_stack("dev", alertEmails='["b@example.com", "c@example.com"]')
    assert one.names(typ) & other.names(typ) == {"ev-population-dev-email-b@example.com"}
    for subscription in one.of(typ):
        assert subscription.inputs["topic"] == TOPIC
        assert subscription.inputs["protocol"] == "email"
        assert subscription.name.endswith(subscription.inputs["endpoint"])


def test_no_address_is_no_subscription() -> None:
    assert record_stack("dev").of("aws:sns/topicSubscription:TopicSubscription") == []
