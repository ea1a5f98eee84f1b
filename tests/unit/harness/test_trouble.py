"""The rules by which LocalStack fails calls, where they are made."""

import json

import pytest

from harness.localstack.trouble import TroubleRule


@pytest.mark.parametrize(
    ("field", "value"), [("share", 1.5), ("share", -0.1), ("status", 200), ("delay_seconds", -1), ("code", "")]
)
def test_rule_out_of_range_is_refused(field, value):
    """A rule that cannot be meant is refused, by the name of its field."""
    with pytest.raises(ValueError, match=field):
        TroubleRule(**{"service": "sqs", "code": "ThrottlingException", field: value})


def test_rule_survives_its_way_to_localstack():
    """As a JSON document and back it is the same rule."""
    rule = TroubleRule(
        service="sqs", operations=("ReceiveMessage",), share=0.5, code="ServiceUnavailable", status=503, after=True
    )
    assert TroubleRule.from_document(json.loads(json.dumps(rule.to_document()))) == rule
