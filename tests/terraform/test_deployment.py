"""The unmodified terraform/, applied once to LocalStack by the real provider; the tests run in this order."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from harness import artifact, cli, stack, terraform
from harness.commands import deploy
from harness.errors import TerraformError
from harness.faults import Misbehaviour, Stage, Visit
from harness.history import History
from harness.sink import Sink
from harness.terraform import Terraform, TerraformStack
from ion import handler
from tests.terraform import described
from tests.terraform.calls import RecordingSession, allowed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from harness.localstack.process import Emulator
    from harness.stack import Stack

# More than a command of Terraform's may take: where the provider cannot be had in that time, the tests are skipped.
pytestmark = [pytest.mark.terraform, pytest.mark.timeout(2 * terraform.TIMEOUT_SECONDS)]
PREFIX = "tf-"


@dataclass(frozen=True, kw_only=True)
class Deployed:
    stack: TerraformStack
    sink: Sink
    artifact: artifact.Artifact
    environment: dict[str, str]

    @property
    def secret(self) -> dict[str, str]:
        return {"username": self.sink.username, "password": self.sink.password, "ca": self.sink.ca_pem}


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The terraform command and the AWS provider; where they are not to be had, nothing here can be tested.

    What was got here serves all the tests: none downloads it again.
    """
    directory = tmp_path_factory.mktemp("provider")
    (directory / "versions.tf").write_text((terraform.ROOT / "versions.tf").read_text())
    try:
        Terraform(directory=directory, environ=terraform.plain_environment(os.environ)).init()
    except TerraformError as error:
        pytest.skip(str(error))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TERRAFORM_PLUGIN_DIR", str(directory / ".terraform" / "providers"))
        yield


@pytest.fixture(scope="module")
def deployed(provider, emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """A stack that Terraform made, and the SMTP server that it sends to."""
    directory = tmp_path_factory.mktemp("deployed")
    built = artifact.build(directory / "ion.zip")
    with History(directory / "history.jsonl") as history, Sink(history=history, mail=directory / "mail") as sink:
        environment = {
            "ION_SMTP_SERVER": "127.0.0.1",
            "ION_SMTP_PORT": str(sink.port),
            "ION_SMTP_CONNECT_TIMEOUT_SECONDS": "30",
        }
        secret = {"username": sink.username, "password": sink.password, "ca": sink.ca_pem}
        made = terraform.deploy(
            emulator,
            built.path,
            environment=environment,
            secret=secret,
            prefix=PREFIX,
            variables={"notification_emails": ["oncall@example.com"]},
            directory=directory / "terraform",
        )
        yield Deployed(stack=made, sink=sink, artifact=built, environment=environment)


@pytest.fixture(scope="module")
def twin(deployed: Deployed, emulator: Emulator) -> Iterator[Stack]:
    """The same stack, made by the harness's own deploy."""
    made = stack.deploy(
        emulator, deployed.artifact.path, environment=deployed.environment, secret=deployed.secret, prefix="twin-"
    )
    yield made
    made.destroy()


def test_a_published_mail_is_delivered(deployed: Deployed, emulator: Emulator, wait_until):
    """What is published to the topic that Terraform puts out arrives."""
    document = {"action": "send", "recipient": "ann@example.com", "subject": "By Terraform", "body_text": "hello"}
    emulator.client("sns").publish(TopicArn=deployed.stack.topic_arn, Message=json.dumps(document))
    assert wait_until(lambda: list((deployed.sink.mail / "new").iterdir()), seconds=180)


def test_the_function_runs_the_artifact(deployed: Deployed, emulator: Emulator):
    """The function's code is dist/ion.zip, bit for bit; Terraform's output says so too."""
    digest = base64.b64encode(hashlib.sha256(deployed.artifact.path.read_bytes()).digest()).decode()
    function = emulator.client("lambda").get_function(FunctionName=deployed.stack.names.function)
    assert function["Configuration"]["CodeSha256"] == digest
    assert deployed.stack.terraform.outputs()["artifact_sha256"] == digest


@pytest.fixture
def as_user(deployed: Deployed, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's process: the credentials lead to the emulator, and terraform/ is the directory that was deployed."""
    use(monkeypatch, terraform.emulator_environment(emulator))
    monkeypatch.setattr(terraform, "ROOT", deployed.stack.terraform.directory)


def use(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    """Make an environment this process's, without anything of AWS's or ion's that is in it now."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "ION_"))]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def test_a_plan_after_the_deployment_changes_nothing(as_user, monkeypatch, capfd):
    """`make plan` finds what was applied to be what the files say, also after ion has set its alarm."""
    monkeypatch.setenv("TF_VAR_smtp_server", "unused: the directory has its values")
    assert cli.main(["deploy", "plan"]) == 0
    said = capfd.readouterr().out
    assert "Target: account 000000000000, region us-east-1" in said
    assert "No changes. Your infrastructure matches the configuration." in said


def test_a_smoke_test_ends_with_the_ledgers_word(deployed: Deployed, as_user, capsys):
    """`make smoke` sends a mail and reports the server's reply from the ledger."""
    assert cli.main(["smoke", "--to", "smoke@example.com", "--timeout", "180"]) == 0
    assert "delivered: 250 2.0.0 kept as" in capsys.readouterr().out


def test_the_first_steps_are_told(deployed: Deployed, as_user):
    """After a deployment, the publish command and the dashboard are shown, and no word of a secret that is filled."""
    said = deploy.next_steps(deployed.stack.terraform)
    assert f"sns publish --region us-east-1 --topic-arn {deployed.stack.topic_arn}" in said
    assert "https://us-east-1.console.aws.amazon.com/cloudwatch/home" in said
    assert "put-secret-value" not in said


def test_a_bad_deployment_is_refused_with_the_reason(deployed: Deployed):
    """A missing zip, and a setting that does not exist, are named before anything is changed."""
    with pytest.raises(TerraformError) as refused:
        deployed.stack.terraform.run(
            "plan", "-refresh=false", "-var", "artifact=/nowhere/ion.zip", "-var", 'settings={"retry.max_atempts"="3"}'
        )
    words = " ".join(str(refused.value).split())
    assert "There is no /nowhere/ion.zip. `make artifact` builds dist/ion.zip" in words
    assert "there is no retry.max_atempts to set here" in words


def test_an_older_ions_topic_can_be_taken_over(deployed: Deployed, emulator: Emulator, tmp_path: Path):
    """Terraform imports a topic that is there already, as docs/deploy.md has it, before anything else is made."""
    topic = emulator.client("sns").create_topic(Name="older-ion-input-topic")["TopicArn"]
    shutil.copytree(terraform.ROOT, tmp_path / "terraform", ignore=terraform.leftovers)
    taking = Terraform(directory=tmp_path / "terraform", environ=deployed.stack.terraform.environ)
    taking.init()
    values = {"name": "older-ion", "smtp_server": "127.0.0.1", "notification_emails": ["oncall@example.com"]}
    (taking.directory / "terraform.tfvars.json").write_text(json.dumps(values))
    taking.run("import", "module.ion.aws_sns_topic.input", topic)
    assert topic in taking.run("show")


def test_people_hear_of_trouble(deployed: Deployed, emulator: Emulator):
    """Every alarm but the one that wakes the function goes to the notification topic, which mails its subscribers."""
    alarms = emulator.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{PREFIX}ion-")["MetricAlarms"]
    topics = {alarm["AlarmName"].removeprefix(f"{PREFIX}ion-"): alarm["AlarmActions"] for alarm in alarms}
    assert topics.pop("input-queue-size-alarm") == [deployed.stack.alarm_topic_arn]
    notification = deployed.stack.names.topic_arn(f"{PREFIX}ion-notification-topic")
    kinds = ("backlog", "dead-letters", "errors", "oldest-message", "throttles")
    assert {name: notification in actions for name, actions in topics.items()} == {
        f"{kind}-alarm": True for kind in kinds
    }
    [subscription] = emulator.client("sns").list_subscriptions_by_topic(TopicArn=notification)["Subscriptions"]
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "oncall@example.com")


def test_old_mail_wakes_the_function_past_an_alarm_that_is_stuck(deployed: Deployed, emulator: Emulator, wait_until):
    """Where the wake-up alarm does not act, the alarm on the oldest message's age has the mail delivered."""
    cloudwatch, names, new = emulator.client("cloudwatch"), deployed.stack.names, deployed.sink.mail / "new"
    before = len(list(new.iterdir()))
    cloudwatch.disable_alarm_actions(AlarmNames=[names.alarm])
    document = {"action": "send", "recipient": "old@example.com", "subject": "Stranded", "body_text": "hello"}
    emulator.client("sqs").send_message(QueueUrl=deployed.stack.queue_url, MessageBody=json.dumps(document))
    # LocalStack does not measure the age; the state is what the action hangs on.
    cloudwatch.set_alarm_state(AlarmName=f"{PREFIX}ion-oldest-message-alarm", StateValue="ALARM", StateReason="test")
    try:
        assert wait_until(lambda: len(list(new.iterdir())) > before, seconds=180)
    finally:
        cloudwatch.enable_alarm_actions(AlarmNames=[names.alarm])


def test_the_alarms_that_wake_the_function_may_do_so(deployed: Deployed, emulator: Emulator):
    """The wake-up topic's policy admits the alarms that act on it, and no other; LocalStack would let in anybody."""
    topic = deployed.stack.alarm_topic_arn
    alarms = emulator.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{PREFIX}ion-")["MetricAlarms"]
    acting = {alarm["AlarmArn"] for alarm in alarms if topic in [*alarm["AlarmActions"], *alarm["OKActions"]]}
    policy = json.loads(emulator.client("sns").get_topic_attributes(TopicArn=topic)["Attributes"]["Policy"])
    [statement] = policy["Statement"]
    assert set(statement["Condition"]["ArnEquals"]["aws:SourceArn"]) == acting


def test_the_dashboard_shows_what_ion_measures(deployed: Deployed, emulator: Emulator, wait_until):
    """The dashboard's metrics of ion's own are in the namespace and under the dimension of those that ion wrote."""
    body = emulator.client("cloudwatch").get_dashboard(DashboardName=f"{PREFIX}ion")["DashboardBody"]
    shown = {
        (metric[0], metric[2], metric[3])
        for one in json.loads(body)["widgets"]
        for metric in one["properties"]["metrics"]
    }
    log = emulator.function_log
    assert log is not None
    # An invocation writes them last of all, some time after its mail has arrived.
    metrics = re.compile(r'^\{"_aws".*\n', re.MULTILINE)
    lines = [json.loads(line) for line in wait_until(lambda: metrics.findall(log.read_text()), seconds=180)]
    written = {
        (directive["Namespace"], dimension, line[dimension])
        for line in lines
        for directive in line["_aws"]["CloudWatchMetrics"]
        for dimension in directive["Dimensions"][0]
    }
    assert written
    assert written <= shown


# --- the same as the harness's own deploy ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "part",
    [
        lambda emulator, stack: described.queue(emulator, stack.queue_url),
        lambda emulator, stack: described.queue(emulator, stack.deadletter_url),
        lambda emulator, stack: described.subscriptions(emulator, stack.topic_arn),
        lambda emulator, stack: described.subscriptions(emulator, stack.alarm_topic_arn),
        lambda emulator, stack: described.alarm(emulator, stack.names.alarm),
        lambda emulator, stack: described.without_people(described.alarm(emulator, stack.names.deadletter_alarm)),
        lambda emulator, stack: described.function(emulator, stack.names.function),
        lambda emulator, stack: described.table(emulator, stack.names.table),
        lambda emulator, stack: described.log_group(emulator, stack.names.log_group),
        lambda emulator, stack: described.settings(emulator, stack.names.function),
    ],
    ids=[
        "input queue",
        "dead-letter queue",
        "input topic",
        "alarm topic",
        "alarm",
        "dead letters' alarm",
        "function",
        "table",
        "log",
        "settings",
    ],
)
def test_the_harness_makes_the_same(deployed: Deployed, twin: Stack, emulator: Emulator, part):
    """What Terraform made and what the harness's own deploy makes differ in their names only."""
    made, twins = part(emulator, deployed.stack), part(emulator, twin)
    assert described.plain(twins, "twin-") == described.plain(made, PREFIX)


# --- least privilege -------------------------------------------------------------------------------------------------


class Context:
    aws_request_id = "in process"

    def get_remaining_time_in_millis(self) -> int:
        return 120_000


class Refusing:
    """Refuses some recipients for good, puts others off."""

    async def at(self, visit: Visit) -> Misbehaviour | None:
        replies = {"gone@example.com": "550 5.1.1 no such user", "later@example.com": "451 4.7.1 greylisted"}
        reply = replies.get(visit.recipient, "") if visit.stage is Stage.RCPT else ""
        return Misbehaviour(reply=reply) if reply else None


def test_the_role_allows_what_ion_does_and_nothing_else(
    deployed: Deployed, emulator: Emulator, make_stack, function_zip, monkeypatch: pytest.MonkeyPatch
):
    """Every call that ion makes is allowed on what it is made on, and everything allowed is something that ion does."""
    # ion itself in this process; the stack's own function does nothing, so that it leaves all the mail to it.
    idle = make_stack(
        function_zip(main="def run(event, context): ..."), handler="main.run", secret=deployed.secret, prefix="calls-"
    )
    monkeypatch.setattr(RecordingSession, "rights", set(), raising=False)
    monkeypatch.setattr(boto3, "Session", RecordingSession)
    configuration = emulator.client("lambda").get_function_configuration(FunctionName=idle.names.function)
    use(
        monkeypatch,
        terraform.emulator_environment(emulator) | configuration["Environment"]["Variables"] | deployed.environment,
    )

    def publish(**document: Any) -> None:
        emulator.client("sqs").send_message(QueueUrl=idle.queue_url, MessageBody=json.dumps(document))

    def send(recipient: str) -> None:
        publish(action="send", recipient=recipient, subject="calls", body_text="hello")

    handler._parts.cache_clear()
    try:
        deployed.sink.faults = Refusing()
        for recipient in ("ann@example.com", "gone@example.com", "later@example.com"):
            send(recipient)
        assert handler.run({}, Context())["dead_lettered"] == 1
        publish(action="redrive", reason="expired")  # looks at the dead letter and leaves it
        handler.run({}, Context())
        publish(action="redrive")
        assert handler.run({}, Context())["redriven"] == 1
        deployed.sink.close()
        send("ann@example.com")
        assert handler.run({}, Context())["ended"] == "unavailable"
        deployed.sink.open()
        handler.run({}, Context())
    finally:
        handler._runner().close()
        handler._runner.cache_clear()
        handler._parts.cache_clear()
        deployed.sink.faults = None
        deployed.sink.open()

    iam = emulator.client("iam")
    role = f"{PREFIX}ion-us-east-1"
    [name] = iam.list_role_policies(RoleName=role)["PolicyNames"]
    policy = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    # Lambda writes the log itself, in the function's name.
    policy["Statement"] = [one for one in policy["Statement"] if one["Sid"] != "Log"]
    done = {(action, resource.removeprefix("calls-")) for action, resource in RecordingSession.rights}
    assert {(action, resource.removeprefix(PREFIX)) for action, resource in allowed(policy)} == done


def test_destroy_leaves_nothing(deployed: Deployed, emulator: Emulator):
    """After `terraform destroy` nothing of the stack's name is left."""
    deployed.stack.destroy()
    left = [
        *emulator.client("sns").list_topics()["Topics"],
        *emulator.client("sqs").list_queues().get("QueueUrls", []),
        *emulator.client("lambda").list_functions()["Functions"],
        *emulator.client("dynamodb").list_tables()["TableNames"],
        *emulator.client("cloudwatch").describe_alarms()["MetricAlarms"],
        *emulator.client("cloudwatch").list_dashboards()["DashboardEntries"],
        *emulator.client("logs").describe_log_groups()["logGroups"],
        *emulator.client("secretsmanager").list_secrets()["SecretList"],
        *emulator.client("iam").list_roles()["Roles"],
    ]
    assert [one for one in left if PREFIX in str(one)] == []
