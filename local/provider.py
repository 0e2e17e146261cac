"""What a run needs of AWS, created through boto3 on the local cloud; what it does not need is only answered."""

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

import pulumi
from pulumi.runtime import rpc
from pulumi.runtime.mocks import MockCallArgs, MockResourceArgs, Mocks

from local.cloud import ACCOUNT_ID, Cloud
from local.errors import LocalError
from local.postgres import Database
from local.state import PROJECT

ARCHIVE_BUCKET: Final = "local-archives"

type Created = tuple[str, dict[str, Any]]


class Provider(Mocks):
    """Creates resources: `_CREATE` has those that a run needs, all others are answered from their inputs."""

    def __init__(self, cloud: Cloud, database: Database) -> None:
        self._cloud = cloud
        self._postgres = database
        self._lock = threading.Lock()

    def call(self, args: MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        """Answer a question to AWS."""
        region = self._cloud.region
        answers: dict[str, dict[str, Any]] = {
            "aws:index/getCallerIdentity:getCallerIdentity": {"accountId": ACCOUNT_ID, "id": ACCOUNT_ID},
            "aws:index/getPartition:getPartition": {"partition": "aws", "dnsSuffix": "amazonaws.com", "id": "aws"},
            "aws:index/getRegion:getRegion": {"name": region, "region": region, "id": region},
            "aws:ec2/getAmi:getAmi": {"id": "ami-00000000000000000", "imageId": "ami-00000000000000000"},
            "aws:ssm/getParameter:getParameter": {"value": "ami-00000000000000000"},
        }
        return {**args.args, **answers.get(args.token, {})}, []

    def new_resource(self, args: MockResourceArgs) -> Created:
        """Create one resource, or answer as if it were there."""
        if not args.custom:
            return "", args.inputs
        inputs = _plain(args.inputs)
        create = self._CREATE.get(args.typ)
        if create is None:
            return self._pretend(args.typ, args.name, inputs)
        identifier, outputs = create(self, args.name, inputs)
        return identifier, {**args.inputs, **outputs}

    def _pretend(self, kind: str, name: str, inputs: dict[str, Any]) -> Created:
        service = kind.partition("/")[0].rpartition(":")[2]
        resource = kind.rpartition(":")[2]
        digest = hashlib.sha256(f"{kind} {name}".encode()).hexdigest()
        physical = str(inputs.get("name") or f"{name}-{digest[:7]}")
        outputs = {
            "arn": f"arn:aws:{service}:{self._cloud.region}:{ACCOUNT_ID}:{resource.lower()}/{physical}",
            "name": physical,
            "keyId": digest[:32],
            "publicIp": "203.0.113.1",
            "privateIp": "10.42.0.10",
            "primaryNetworkInterfaceId": f"eni-{digest[:17]}",
        }
        return f"{resource.lower()}-{digest[:17]}", {**outputs, **inputs}

    def _bucket(self, name: str, inputs: dict[str, Any]) -> Created:
        bucket = inputs.get("bucket") or _autonamed(inputs.get("bucketPrefix") or f"{name}-", name)
        self._cloud.client("s3").create_bucket(
            Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": self._cloud.region}
        )
        return bucket, {"bucket": bucket, "arn": f"arn:aws:s3:::{bucket}"}

    def _secret(self, name: str, inputs: dict[str, Any]) -> Created:
        secret = inputs.get("name") or _autonamed(inputs.get("namePrefix") or f"{name}-", name)
        arn = self._cloud.client("secretsmanager").create_secret(Name=secret)["ARN"]
        return arn, {"arn": arn, "name": secret}

    def _secret_version(self, _: str, inputs: dict[str, Any]) -> Created:
        answer = self._cloud.client("secretsmanager").put_secret_value(
            SecretId=inputs["secretId"], SecretString=inputs["secretString"]
        )
        return f"{answer['ARN']}|{answer['VersionId']}", {"arn": answer["ARN"], "versionId": answer["VersionId"]}

    def _topic(self, name: str, inputs: dict[str, Any]) -> Created:
        topic = inputs.get("name") or _autonamed(f"{name}-", name)
        arn = self._cloud.client("sns").create_topic(Name=topic)["TopicArn"]
        return arn, {"arn": arn, "name": topic}

    def _subscription(self, _: str, inputs: dict[str, Any]) -> Created:
        arn = self._cloud.client("sns").subscribe(
            TopicArn=inputs["topic"],
            Protocol=inputs["protocol"],
            Endpoint=inputs["endpoint"],
            ReturnSubscriptionArn=True,
        )["SubscriptionArn"]
        return arn, {"arn": arn}

    def _queue(self, name: str, inputs: dict[str, Any]) -> Created:
        queue = inputs.get("name") or _autonamed(f"{name}-", name)
        url = self._cloud.client("sqs").create_queue(QueueName=queue)["QueueUrl"]
        return url, {"arn": f"arn:aws:sqs:{self._cloud.region}:{ACCOUNT_ID}:{queue}", "url": url, "name": queue}

    def _role(self, name: str, inputs: dict[str, Any]) -> Created:
        role = inputs.get("name") or _autonamed(inputs.get("namePrefix") or f"{name}-", name)
        answer = self._cloud.client("iam").create_role(
            RoleName=role, AssumeRolePolicyDocument=_text(inputs["assumeRolePolicy"])
        )
        return role, {"arn": answer["Role"]["Arn"], "name": role, "uniqueId": answer["Role"]["RoleId"]}

    def _role_policy(self, name: str, inputs: dict[str, Any]) -> Created:
        policy = inputs.get("name") or name
        self._cloud.client("iam").put_role_policy(
            RoleName=inputs["role"], PolicyName=policy, PolicyDocument=_text(inputs["policy"])
        )
        return f"{inputs['role']}:{policy}", {"name": policy}

    def _database(self, name: str, inputs: dict[str, Any]) -> Created:
        database = self._postgres
        identifier = inputs.get("identifier") or name
        login = {"username": database.user, "password": database.password}
        secret = self._cloud.client("secretsmanager").create_secret(
            Name=f"rds!db-{identifier}", SecretString=json.dumps(login)
        )["ARN"]
        return identifier, {
            "arn": f"arn:aws:rds:{self._cloud.region}:{ACCOUNT_ID}:db:{identifier}",
            "identifier": identifier,
            "resourceId": "db-LOCAL",
            "address": database.host,
            "port": database.port,
            "endpoint": f"{database.host}:{database.port}",
            "dbName": database.name,
            "username": database.user,
            "masterUserSecrets": [{"secretArn": secret, "secretStatus": "active", "kmsKeyId": "local"}],
        }

    def _layer(self, name: str, inputs: dict[str, Any]) -> Created:
        layer = inputs.get("layerName") or name
        answer = self._cloud.client("lambda").publish_layer_version(
            LayerName=layer,
            Content=self._archived(inputs["code"]),
            CompatibleRuntimes=inputs.get("compatibleRuntimes") or [],
        )
        return answer["LayerVersionArn"], {
            "arn": answer["LayerVersionArn"],
            "layerArn": answer["LayerArn"],
            "version": str(answer["Version"]),
        }

    def _function(self, name: str, inputs: dict[str, Any]) -> Created:
        function = inputs.get("name") or _autonamed(f"{name}-", name)
        answer = self._cloud.client("lambda").create_function(
            FunctionName=function,
            Runtime=inputs["runtime"],
            Role=inputs["role"],
            Handler=inputs["handler"],
            Code=self._archived(inputs["code"]),
            Layers=inputs.get("layers") or [],
            Timeout=int(inputs.get("timeout") or 3),
            MemorySize=int(inputs.get("memorySize") or 128),
            Environment={"Variables": (inputs.get("environment") or {}).get("variables") or {}},
            Architectures=inputs.get("architectures") or ["x86_64"],
        )
        arn = answer["FunctionArn"]
        return function, {"arn": arn, "name": function, "qualifiedArn": f"{arn}:$LATEST", "version": "$LATEST"}

    def _state_machine(self, name: str, inputs: dict[str, Any]) -> Created:
        machine = inputs.get("name") or _autonamed(f"{name}-", name)
        arn = self._cloud.client("stepfunctions").create_state_machine(
            name=machine,
            definition=inputs["definition"],
            roleArn=inputs["roleArn"],
            type=inputs.get("type") or "STANDARD",
        )["stateMachineArn"]
        return arn, {"arn": arn, "name": machine}

    def _schedule(self, name: str, inputs: dict[str, Any]) -> Created:
        schedule = inputs.get("name") or _autonamed(f"{name}-", name)
        target = inputs["target"]
        arn = self._cloud.client("scheduler").create_schedule(
            Name=schedule,
            GroupName=inputs.get("groupName") or "default",
            ScheduleExpression=inputs["scheduleExpression"],
            ScheduleExpressionTimezone=inputs.get("scheduleExpressionTimezone") or "UTC",
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={"Arn": target["arn"], "RoleArn": target["roleArn"], "Input": target["input"]},
        )["ScheduleArn"]
        return f"default/{schedule}", {"arn": arn, "name": schedule}

    def _schedule_group(self, name: str, inputs: dict[str, Any]) -> Created:
        group = inputs.get("name") or _autonamed(f"{name}-", name)
        arn = self._cloud.client("scheduler").create_schedule_group(Name=group)["ScheduleGroupArn"]
        return group, {"arn": arn, "name": group}

    def _archived(self, archive: pulumi.Archive) -> dict[str, str]:
        """Where Lambda finds an archive: in a bucket, since sending it inline would hold it in memory four times."""
        if not isinstance(archive, pulumi.FileArchive):
            raise LocalError(f"The local run deploys archives that are files; got {type(archive).__name__}.")
        path = PROJECT / archive.path
        s3 = self._cloud.client("s3")
        with self._lock:
            if ARCHIVE_BUCKET not in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}:
                s3.create_bucket(
                    Bucket=ARCHIVE_BUCKET, CreateBucketConfiguration={"LocationConstraint": self._cloud.region}
                )
            if s3.list_objects_v2(Bucket=ARCHIVE_BUCKET, Prefix=path.name)["KeyCount"] == 0:
                s3.put_object(Bucket=ARCHIVE_BUCKET, Key=path.name, Body=path.read_bytes())
        return {"S3Bucket": ARCHIVE_BUCKET, "S3Key": path.name}

    _CREATE: Final[Mapping[str, Callable[["Provider", str, dict[str, Any]], Created]]] = {
        "aws:s3/bucket:Bucket": _bucket,
        "aws:s3/bucketV2:BucketV2": _bucket,
        "aws:secretsmanager/secret:Secret": _secret,
        "aws:secretsmanager/secretVersion:SecretVersion": _secret_version,
        "aws:sns/topic:Topic": _topic,
        "aws:sns/topicSubscription:TopicSubscription": _subscription,
        "aws:sqs/queue:Queue": _queue,
        "aws:iam/role:Role": _role,
        "aws:iam/rolePolicy:RolePolicy": _role_policy,
        "aws:rds/instance:Instance": _database,
        "aws:lambda/layerVersion:LayerVersion": _layer,
        "aws:lambda/function:Function": _function,
        "aws:sfn/stateMachine:StateMachine": _state_machine,
        "aws:scheduler/schedule:Schedule": _schedule,
        "aws:scheduler/scheduleGroup:ScheduleGroup": _schedule_group,
    }


def _autonamed(prefix: str, seed: str) -> str:
    """A name such as Pulumi gives: the prefix and seven hexadecimal digits, here always the same."""
    return prefix + hashlib.sha256(seed.encode()).hexdigest()[:7]


def _text(document: object) -> str:
    return document if isinstance(document, str) else json.dumps(document)


def _plain(value: Any) -> Any:
    """Inputs without the wrapping of secrets: this cloud is the only place they go to."""
    if rpc.is_rpc_secret(value):
        return _plain(rpc.unwrap_rpc_secret(value))
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
