"""Alarms and dashboard: what sounds, what it says to do, and what is shown."""

import json
import re
from typing import Any

import pytest

from components.settings import LONGEST_RUNBOOK_URL
from tests.pulumi_mocks import PROJECT, STACK_VARIANTS, Recording, record_stack

RUNBOOK = "docs/operate.md"
ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"
TOPIC = "arn:aws:sns:ap-northeast-1:123456789012:ev-population-dev"
MACHINE = "arn:aws:states:ap-northeast-1:123456789012:stateMachine:ev-population-dev"
MINIMAL = {
    *("run-failed", "run-timed-out", "run-throttled", "not-started", "stale", "source-old"),
    *(f"{function}-{what}" for function in ("extract", "stage", "publish") for what in ("errors", "slow")),
    *("database-cpu", "database-storage", "database-connections"),
}


def alarm(role: str, **overrides: str) -> dict[str, Any]:
    """Return the inputs of one of dev's alarms."""
    return dict(record_stack("dev", **overrides).one(ALARM, role).inputs)


def roles(recording: Recording, stack: str = "dev") -> set[str]:
    """Return the alarms of a stack by what follows its name."""
    return {item.inputs["name"].removeprefix(f"ev-population-{stack}-") for item in recording.of(ALARM)}


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_everything_that_can_go_wrong_has_an_alarm(stack: str) -> None:
    assert roles(record_stack(stack, egress="nat-gateway"), stack) == MINIMAL


def test_a_nat_instance_has_one_too_in_every_zone() -> None:
    found = roles(record_stack("prod", egress="nat-instance"), "prod") - MINIMAL
    assert found == {f"nat-ap-northeast-1{letter}-{what}" for letter in "acd" for what in ("down", "credits")}
    down = record_stack("dev", egress="nat-instance").one(ALARM, "down").inputs
    assert down["dimensions"] == {"InstanceId": "ev-population-dev-nat-ap-northeast-1a-id"}
    assert down["treatMissingData"] == "breaching", "an instance that is gone reports nothing"


@pytest.mark.parametrize(
    ("role", "instance"),
    [("nat-ap-northeast-1a-credits", "nat-ap-northeast-1a-id"), ("analyst-credits", "analyst-id")],
)
def test_an_instance_that_costs_more_than_its_hours_has_an_alarm(role: str, instance: str) -> None:
    given = alarm(role, egress="nat-instance", analystAccess="ssm")
    assert given["namespace"] == "AWS/EC2"
    assert given["metricName"] == "CPUSurplusCreditsCharged"
    assert given["dimensions"] == {"InstanceId": f"ev-population-dev-{instance}"}
    assert given["statistic"] == "Maximum"
    assert given["comparisonOperator"] == "GreaterThanOrEqualToThreshold"
    assert given["threshold"] == 1, "vCPU-minutes that AWS bills"
    assert given["period"] == 3600, "surplus credits are charged by the hour"
    assert given["treatMissingData"] == "notBreaching"
    assert given["okActions"] == [TOPIC]


@pytest.mark.parametrize(("stack", "egress"), STACK_VARIANTS)
def test_every_alarm_tells_the_topic_says_what_to_do_and_leads_to_the_runbook(stack: str, egress: str) -> None:
    for item in record_stack(stack, egress=egress).of(ALARM):
        given = item.inputs
        assert given["alarmActions"] == [TOPIC.replace("-dev", f"-{stack}")]
        assert re.search(rf"[A-Z].+[.] [A-Z].+[.] More: {RUNBOOK}#[a-z-]+$", given["alarmDescription"])
        assert len(given["alarmDescription"]) <= 1024, "CloudWatch takes no more"
        assert given["treatMissingData"] in {"breaching", "notBreaching", "ignore"}


def test_descriptions_have_room_for_the_longest_address_of_the_runbook() -> None:
    url = "https://example.com/".ljust(LONGEST_RUNBOOK_URL, "x")
    for stack, egress in STACK_VARIANTS:
        for item in record_stack(stack, egress=egress, runbookUrl=url).of(ALARM):
            assert url in item.inputs["alarmDescription"]
            assert len(item.inputs["alarmDescription"]) <= 1024, "CloudWatch takes no more"


class TestSourceAge:
    def test_a_source_without_a_new_version_for_as_long_as_configured_sounds(self) -> None:
        given = alarm("source-old", maxSourceAgeDays="120")
        assert given["threshold"] == 120
        assert given["comparisonOperator"] == "GreaterThanOrEqualToThreshold"
        assert given["statistic"] == "Maximum"
        assert (given["namespace"], given["metricName"]) == ("ev-population-dev", "SourceAgeDays")
        assert given["dimensions"] == {"service": "extract"}
        assert given["okActions"] == [TOPIC], "a new version ends it"
        assert "120 days (maxSourceAgeDays)" in given["alarmDescription"]

    def test_between_two_runs_it_stays_as_it_is(self) -> None:
        given = alarm("source-old")
        assert given["treatMissingData"] == "ignore", "a run a day leaves 23 hours without a data point"
        assert given["threshold"] == 90
        assert given["evaluationPeriods"] == 1

    def test_it_needs_no_schedule_that_an_alarm_can_look_back_on(self) -> None:
        assert "source-old" in roles(record_stack("dev", schedule="rate(30 days)"))


@pytest.mark.parametrize("egress", ["nat-gateway", "nat-instance"])
def test_every_place_in_the_runbook_that_an_alarm_leads_to_is_there(egress: str) -> None:
    recording = record_stack("prod", egress=egress, analystAccess="ssm")
    wanted = {item.inputs["alarmDescription"].rsplit("#", 1)[1] for item in recording.of(ALARM)} | {"stopped-run"}
    headings = re.findall(r"^#+ (.+)$", (PROJECT / RUNBOOK).read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert wanted <= anchors


def test_the_end_of_what_lasts_is_told_and_what_is_over_at_once_has_none() -> None:
    recording = record_stack("dev", egress="nat-instance", analystAccess="ssm")
    lasting = {item.name.removeprefix("ev-population-dev-") for item in recording.of(ALARM) if item.inputs["okActions"]}
    assert lasting == {
        "not-started",
        "stale",
        "source-old",
        "database-cpu",
        "database-storage",
        "database-connections",
        "nat-ap-northeast-1a-down",
        "nat-ap-northeast-1a-credits",
        "analyst-credits",
    }
    assert {str(item.inputs["okActions"]) for item in recording.of(ALARM)} == {"[]", f"['{TOPIC}']"}


@pytest.mark.parametrize(
    ("role", "metric"),
    [
        ("run-failed", "ExecutionsFailed"),
        ("run-timed-out", "ExecutionsTimedOut"),
        ("run-throttled", "ExecutionThrottled"),
    ],
)
def test_a_single_run_gone_wrong_is_enough(role: str, metric: str) -> None:
    given = alarm(role)
    assert given["namespace"] == "AWS/States"
    assert given["metricName"] == metric
    assert given["dimensions"] == {"StateMachineArn": MACHINE}
    assert given["threshold"] == given["evaluationPeriods"] == 1
    assert given["comparisonOperator"] == "GreaterThanOrEqualToThreshold"
    assert given["treatMissingData"] == "notBreaching", "most of the day nothing runs"


def test_a_single_dead_letter_is_enough() -> None:
    given = alarm("not-started")
    assert given["dimensions"] == {"QueueName": "ev-population-dev-not-started"}
    assert given["metricName"] == "ApproximateNumberOfMessagesVisible"
    assert given["threshold"] == 1


class TestFreshness:
    def test_a_day_and_a_quarter_without_a_version_is_stale_and_silence_is_no_excuse(self) -> None:
        given = alarm("stale")
        assert given["evaluationPeriods"] == given["datapointsToAlarm"] == 30
        assert given["treatMissingData"] == "breaching"
        assert given["comparisonOperator"] == "LessThanThreshold"
        assert given["threshold"] == 1
        assert given["okActions"] == [TOPIC]

    def test_a_published_version_counts_and_so_does_one_confirmed_unchanged(self) -> None:
        published, unchanged, fresh = alarm("stale")["metricQueries"]
        for query, metric, service in (
            (published, "PublishSuccess", "publish"),
            (unchanged, "SourceUnchanged", "publish"),
        ):
            assert query["returnData"] is False
            assert query["metric"] == {
                "namespace": "ev-population-dev",
                "metricName": metric,
                "dimensions": {"service": service},
                "period": 3600,
                "stat": "Sum",
            }
        assert fresh["expression"] == "SUM([published, unchanged])"
        assert fresh["returnData"] is True

    @pytest.mark.parametrize(("schedule", "hours"), [("rate(1 hour)", 3), ("cron(0 6 ? * MON-FRI *)", 90)])
    def test_it_follows_the_schedule(self, schedule: str, hours: int) -> None:
        assert alarm("stale", schedule=schedule)["evaluationPeriods"] == hours

    @pytest.mark.parametrize("schedule", ["rate(7 days)", "cron(0 6 1 * ? *)", "at(2027-01-31T06:00:00)"])
    def test_a_schedule_beyond_what_an_alarm_can_look_back_has_none_and_says_so(
        self, schedule: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        recording = record_stack("dev", schedule=schedule)
        of_nat = {"nat-ap-northeast-1a-down", "nat-ap-northeast-1a-credits"}
        assert roles(recording) - of_nat == MINIMAL - {"stale"}
        body = recording.one("aws:cloudwatch/dashboard:Dashboard").inputs["dashboardBody"]
        assert "There is no alarm on freshness" in body

    @pytest.mark.parametrize("schedule", ["rate(1 minute)", "cron(0 6 * * ? *)", "rate(5 days)"])
    def test_no_alarm_looks_back_further_than_cloudwatch_lets_it(self, schedule: str) -> None:
        for item in record_stack("dev", schedule=schedule).of(ALARM):
            period = item.inputs.get("period", 3600)
            limit = 7 * 86_400 if period >= 3600 else 86_400
            assert item.inputs["evaluationPeriods"] * period <= limit, item.name


@pytest.mark.parametrize(("role", "milliseconds"), [("extract", 720_000), ("stage", 240_000), ("publish", 720_000)])
def test_a_function_near_its_timeout_sounds_and_so_does_one_that_keeps_failing(role: str, milliseconds: int) -> None:
    slow, errors = alarm(f"{role}-slow"), alarm(f"{role}-errors")
    assert slow["threshold"] == milliseconds
    assert slow["statistic"] == "Maximum"
    assert slow["metricName"] == "Duration"
    assert errors["threshold"] == 3
    assert errors["metricName"] == "Errors"
    assert slow["dimensions"] == errors["dimensions"] == {"FunctionName": f"ev-population-dev-{role}"}


def test_the_databases_limits_follow_its_size() -> None:
    assert alarm("database-storage")["threshold"] == 2 * 2**30
    assert alarm("database-storage", databaseStorageGb="50")["threshold"] == 5 * 2**30
    assert alarm("database-storage")["comparisonOperator"] == "LessThanThreshold"
    assert alarm("database-connections")["threshold"] == 60
    assert alarm("database-connections", databaseInstanceClass="db.t4g.small")["threshold"] == 120
    assert alarm("database-cpu")["evaluationPeriods"] * alarm("database-cpu")["period"] == 900, "a load is busy too"
    for role in ("cpu", "storage", "connections"):
        assert alarm(f"database-{role}")["dimensions"] == {"DBInstanceIdentifier": "ev-population-dev"}


class TestDashboard:
    def body(self, stack: str = "dev") -> dict[str, Any]:
        board = record_stack(stack).one("aws:cloudwatch/dashboard:Dashboard")
        assert board.inputs["dashboardName"] == f"ev-population-{stack}"
        return board.document("dashboardBody")

    def test_it_answers_is_it_healthy_is_it_fresh_and_what_did_it_load(self) -> None:
        titles = [widget["properties"].get("title", "") for widget in self.body()["widgets"]]
        for question in ("Is it healthy?", "Is it fresh?", "What did it load?"):
            assert any(title.startswith(question) for title in titles)

    def test_every_alarm_is_on_it(self) -> None:
        shown = next(widget for widget in self.body()["widgets"] if widget["type"] == "alarm")
        alarms = record_stack("dev").of(ALARM)
        assert set(shown["properties"]["alarms"]) == {
            f"arn:aws:cloudwatch:ap-northeast-1:123456789012:alarm:{item.inputs['name']}" for item in alarms
        }

    def test_every_metric_that_the_handlers_emit_is_on_it(self) -> None:
        body = json.dumps(self.body())
        for metric in ("RowsLoaded", "RowsInserted", "RowsUpdated", "RowsRemoved", "RowsRejected", "RowsKept"):
            assert f'["ev-population-dev", "{metric}", "service", "publish"]' in body
        assert '["ev-population-dev", "SourceUnchanged", "service", "publish"]' in body

    def test_every_graph_adds_up_over_the_time_that_its_title_is_about(self) -> None:
        periods = {
            widget["properties"]["title"]: (widget["properties"]["period"], widget["properties"]["stat"])
            for widget in self.body()["widgets"]
            if widget["type"] == "metric"
        }
        day, five_minutes = 86_400, 300
        assert periods == {
            "Is it fresh? Versions published or confirmed unchanged, by day": (day, "Sum"),
            "Runs, by day": (day, "Sum"),
            "What did it load? Rows of the version": (day, "Maximum"),
            "What changed? Rows, by day": (day, "Sum"),
            "Duration, ms": (five_minutes, "Maximum"),
            "Errors and throttles": (five_minutes, "Sum"),
            "Starts that were not made": (five_minutes, "Maximum"),
            "Database processor, %": (five_minutes, "Average"),
            "Database connections": (five_minutes, "Maximum"),
            "Database storage left, bytes": (five_minutes, "Minimum"),
        }

    def test_widgets_fill_rows_side_by_side_and_never_overlap(self) -> None:
        cells: set[tuple[int, int]] = set()
        for widget in self.body()["widgets"]:
            taken = {
                (x, y)
                for x in range(widget["x"], widget["x"] + widget["width"])
                for y in range(widget["y"], widget["y"] + widget["height"])
            }
            assert not taken & cells
            assert all(x < 24 for x, _ in taken), "CloudWatch's grid is 24 wide"
            cells |= taken

    def test_its_address_is_an_output(self) -> None:
        console = "https://ap-northeast-1.console.aws.amazon.com/cloudwatch/home?region=ap-northeast-1"
        assert record_stack("dev").outputs["dashboardUrl"] == f"{console}#dashboards/dashboard/ev-population-dev"
