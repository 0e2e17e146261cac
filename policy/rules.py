"""What holds for every resource of every stack, as data: for tests over the whole program, and for the policy pack.

A rule looks at one resource. A rule of the stack looks at all of them, for what AWS keeps beside a resource instead of
in it. Props are inputs as the engine has them: camelCase, JSON documents as text.
"""

from typing import Final

from policy import checks, tokens
from policy.model import Rule, StackRule

RULES: Final[tuple[Rule, ...]] = (
    Rule(
        name="encrypted",
        says="Everything that stores is encrypted, with a key of ours where AWS lets it be.",
        types=tuple(checks.ENCRYPTED_BY),
        check=checks.encrypted,
    ),
    Rule(
        name="key-rotated",
        says="A key is rotated, and its deletion can be taken back for 30 days.",
        types=(tokens.KEY,),
        check=checks.must({"enableKeyRotation": True, "deletionWindowInDays": 30}),
    ),
    Rule(
        name="database-private",
        says="No database has a public address.",
        types=(tokens.DATABASE, "aws:rds/clusterInstance:ClusterInstance"),
        check=checks.must({"publiclyAccessible": False}),
    ),
    Rule(
        name="database-password",
        says="RDS makes, keeps and rotates the master password; the program never has it.",
        types=(tokens.DATABASE,),
        check=checks.must({"manageMasterUserPassword": True, "password": None, "passwordWo": None}),
    ),
    Rule(
        name="database-observed",
        says="The database exports its logs and keeps its load for CloudWatch Database Insights.",
        types=(tokens.DATABASE,),
        check=checks.must(
            {"performanceInsightsEnabled": True, "enabledCloudwatchLogsExports": ["postgresql", "upgrade"]}
        ),
    ),
    Rule(
        name="no-open-ingress",
        says="No security group lets the internet in.",
        types=(tokens.INGRESS_RULE, tokens.SECURITY_GROUP_RULE, tokens.SECURITY_GROUP),
        check=checks.no_open_ingress,
    ),
    Rule(
        name="one-port-one-rule",
        says="A security group rule is a resource of its own and opens one TCP port.",
        types=(tokens.INGRESS_RULE, tokens.EGRESS_RULE, tokens.SECURITY_GROUP),
        check=checks.one_port_one_rule,
    ),
    Rule(
        name="rules-described",
        says="Every security group and every rule of one says what it is for, in characters that EC2 accepts.",
        types=(tokens.SECURITY_GROUP, tokens.INGRESS_RULE, tokens.EGRESS_RULE, tokens.SECURITY_GROUP_RULE),
        check=checks.described,
    ),
    Rule(
        name="default-group-empty",
        says="The VPC's default security group lets nothing in or out.",
        types=(tokens.DEFAULT_GROUP,),
        check=checks.must({"ingress": [], "egress": []}),
    ),
    Rule(
        name="subnet-gives-no-address",
        says="No subnet gives out public addresses by itself.",
        types=(tokens.SUBNET,),
        check=checks.must({"mapPublicIpOnLaunch": False}),
    ),
    Rule(
        name="endpoint-limited",
        says="A VPC endpoint leads only to what is ours.",
        types=(tokens.ENDPOINT,),
        check=checks.endpoint_is_limited,
    ),
    Rule(
        name="instance-closed",
        says="An instance asks for IMDSv2, has no SSH key, and no public address unless it is a NAT.",
        types=(tokens.INSTANCE,),
        check=checks.instance_is_closed,
    ),
    Rule(
        name="no-wildcard-action",
        says="No policy allows actions by wildcard.",
        types=tokens.POLICY_HOLDERS,
        check=checks.no_wildcard_action,
    ),
    Rule(
        name="no-wildcard-resource",
        says="No policy allows an action on every resource, but the few for which AWS takes nothing narrower.",
        types=tokens.POLICY_HOLDERS,
        check=checks.no_wildcard_resource,
    ),
    Rule(
        name="principals-closed",
        says="No policy lets everybody in.",
        types=tokens.POLICY_HOLDERS,
        check=checks.closed_principals,
    ),
    Rule(
        name="managed-policies",
        says="Of AWS' own policies only those are attached that are written for one purpose.",
        types=(tokens.ROLE_POLICY_ATTACHMENT,),
        check=checks.managed_policy,
    ),
    Rule(
        name="no-long-lived-keys",
        says="Nobody gets a key that does not end by itself.",
        types=("aws:iam/user:User", "aws:iam/accessKey:AccessKey", "aws:ec2/keyPair:KeyPair"),
        check=checks.long_lived,
    ),
    Rule(
        name="log-retention",
        says="Every log group says how long it keeps.",
        types=(tokens.LOG_GROUP,),
        check=checks.retention,
    ),
    Rule(
        name="tagged",
        says=f"Everything is in {checks.REGION} and tagged, by the provider: {', '.join(checks.TAGS)}.",
        types=(tokens.PROVIDER,),
        check=checks.tags,
    ),
    Rule(
        name="tls-only",
        says="Nothing answers without TLS.",
        types=(tokens.BUCKET_POLICY, tokens.TOPIC_POLICY, tokens.QUEUE_POLICY, tokens.DATABASE_PARAMETERS),
        check=checks.tls_only,
    ),
    Rule(
        name="function-verifies-tls",
        says="A function talks over TLS and verifies whom it talks to.",
        types=(tokens.FUNCTION,),
        check=checks.function_verifies_tls,
    ),
    Rule(
        name="recoverable",
        says="There are backups; in prod, data is protected, deleted by nothing, and has a standby.",
        types=(tokens.DATABASE, tokens.BUCKET, tokens.KEY),
        check=checks.recoverable,
    ),
    Rule(
        name="public-access-blocked",
        says="A bucket takes no public access, by policy or by list.",
        types=(tokens.BUCKET_PUBLIC_ACCESS,),
        check=checks.must(
            dict.fromkeys(("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"), True)
        ),
    ),
    Rule(
        name="bucket-owned",
        says="A bucket's objects are its owner's, and access lists mean nothing.",
        types=(tokens.BUCKET_OWNERSHIP,),
        check=checks.must({"rule.objectOwnership": "BucketOwnerEnforced"}),
    ),
    Rule(
        name="bucket-versioned",
        says="What is overwritten or deleted in a bucket can be brought back.",
        types=(tokens.BUCKET_VERSIONING,),
        check=checks.must({"versioningConfiguration.status": "Enabled"}),
    ),
    Rule(
        name="bucket-expires",
        says="Data, old versions and unfinished uploads expire.",
        types=(tokens.BUCKET_LIFECYCLE,),
        check=checks.bucket_expires,
    ),
    Rule(
        name="function-runtime",
        says=f"Functions run on {checks.RUNTIME}, which they are tested on.",
        types=(tokens.FUNCTION,),
        check=checks.must({"runtime": checks.RUNTIME}),
    ),
    Rule(
        name="function-traced",
        says="Functions are traced.",
        types=(tokens.FUNCTION,),
        check=checks.must({"tracingConfig.mode": "Active"}),
    ),
    Rule(
        name="function-without-secrets",
        says="No secret stands in a function's environment.",
        types=(tokens.FUNCTION,),
        check=checks.no_secret_in_environment,
    ),
    Rule(
        name="function-without-url",
        says="No function can be called from outside AWS.",
        types=(tokens.FUNCTION_URL, "aws:lambda/permission:Permission"),
        check=lambda resource: [f"{resource.typ} opens a function; the state machine's role is enough."],
    ),
    Rule(
        name="state-machine-traced",
        says="State machines are traced.",
        types=(tokens.STATE_MACHINE,),
        check=checks.must({"tracingConfiguration.enabled": True}),
    ),
    Rule(
        name="state-machine-log",
        says="A state machine logs what failed, never what went in or out.",
        types=(tokens.STATE_MACHINE,),
        check=checks.logs_tell_no_data,
    ),
    Rule(
        name="start-not-lost",
        says="A scheduled start is tried again, and leaves a dead letter if it cannot be made.",
        types=(tokens.SCHEDULE,),
        check=checks.start_is_not_lost,
    ),
    Rule(
        name="alarm-speaks",
        says="Every alarm tells somebody, and where the runbook says what to do.",
        types=(tokens.ALARM,),
        check=checks.alarm_speaks,
    ),
)

STACK_RULES: Final[tuple[StackRule, ...]] = (
    StackRule(
        name="bucket-guarded",
        says="A bucket has everything that guards it.",
        typ=tokens.BUCKET,
        beside=(
            *(tokens.BUCKET_ENCRYPTION, tokens.BUCKET_LIFECYCLE, tokens.BUCKET_OWNERSHIP),
            *(tokens.BUCKET_POLICY, tokens.BUCKET_PUBLIC_ACCESS, tokens.BUCKET_VERSIONING),
        ),
    ),
    StackRule(
        name="function-log",
        says="A function has a log group of the program's own: Lambda's would be unencrypted and kept for ever.",
        typ=tokens.FUNCTION,
        beside=(tokens.LOG_GROUP,),
    ),
    StackRule(
        name="topic-closed",
        says="A topic says who may publish to it.",
        typ=tokens.TOPIC,
        beside=(tokens.TOPIC_POLICY,),
    ),
    StackRule(
        name="queue-closed",
        says="A queue says who may use it.",
        typ=tokens.QUEUE,
        beside=(tokens.QUEUE_POLICY,),
    ),
)
