"""The topic that says what happened: alarms, the state machine and EventBridge publish, people read."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import iam
from components.naming import Scope
from components.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationsArgs:
    """What the topic depends on."""

    scope: Scope
    settings: Settings
    key_arn: pulumi.Input[str]


class Notifications(pulumi.ComponentResource):
    """An encrypted topic with a closed list of publishers, and the subscriptions from config."""

    topic_arn: pulumi.Output[str]

    def __init__(self, name: str, args: NotificationsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Create the topic, its policy and a subscription for each address."""
        super().__init__("ev-population:index:Notifications", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        topic = aws.sns.Topic(
            f"{name}-topic",
            name=name,
            display_name=name,
            kms_master_key_id=args.key_arn,
            opts=child,
        )
        aws.sns.TopicPolicy(
            f"{name}-topic",
            arn=topic.arn,
            policy=iam.policy(*topic_policy(args.scope, topic.arn)),
            opts=child,
        )
        for address in args.settings.alert_emails:
            aws.sns.TopicSubscription(
                f"{name}-email-{address}", topic=topic.arn, protocol="email", endpoint=address, opts=child
            )
        self.topic_arn = topic.arn
        self.register_outputs({"topicArn": self.topic_arn})


def topic_policy(scope: Scope, topic_arn: pulumi.Input[str]) -> list[iam.Statement]:
    """Return who may publish: this stack's alarms, EventBridge, and one role, that of the state machine."""
    return [
        iam.Statement(
            sid="AlarmsOfThisStack",
            principal={"Service": "cloudwatch.amazonaws.com"},
            actions=["sns:Publish"],
            resources=[topic_arn],
            conditions={
                "ArnLike": {"aws:SourceArn": scope.arn("cloudwatch", f"alarm:{scope.prefix}-*")},
                "StringEquals": {"aws:SourceAccount": scope.account_id},
            },
        ),
        # Without a condition: EventBridge is documented to publish to a topic by this statement only.
        # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html#eb-sns-permissions
        iam.Statement(
            sid="EventBridge",
            principal={"Service": "events.amazonaws.com"},
            actions=["sns:Publish"],
            resources=[topic_arn],
        ),
        # The role's own policy lets it publish; this keeps out everybody else in the account whose policy would.
        iam.Statement(
            sid="NobodyButTheStateMachine",
            effect="Deny",
            principal="*",
            actions=["sns:Publish"],
            resources=[topic_arn],
            conditions={
                "ArnNotEquals": {"aws:PrincipalArn": scope.arn("iam", f"role/{scope.prefix}-states")},
                "Bool": {"aws:PrincipalIsAWSService": "false"},
            },
        ),
        iam.tls_only("sns:Publish", topic_arn),
    ]
