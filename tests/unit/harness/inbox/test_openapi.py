import contextlib

import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS

from harness.history import History
from harness.inbox.chaos import Chaos
from harness.sink import Sink


def test_the_server_keeps_to_its_openapi_document(captured, serve):
    """Whatever the document allows is answered as it says, and what it forbids is refused, never with a 5xx."""
    captured.mail("one", X_Tags="red")
    captured.html("<p>x", files=(("a.pdf", b"%PDF", "application/pdf"),))
    with (
        History(captured.run.history) as history,
        Sink(history=history, mail=captured.run.mail, tls="none", username="") as sink,
    ):
        client = serve(chaos=Chaos(sink))
        schema = schemathesis.openapi.from_dict(client.json("/openapi.json"))
        schema.config.update(base_url=f"{client.address}/api/v1", request_timeout=60)
        operations = [found.ok() for found in schema.get_all_operations()]
        assert len(operations) >= 18
        for operation in operations:
            for mode in GenerationMode:
                with contextlib.suppress(Unsatisfiable):  # there is nothing to get wrong where nothing is asked for
                    _check(operation, mode, client.session)


def _check(operation, mode, session):
    @settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
    @given(operation.as_strategy(generation_mode=mode))
    def check(case):
        # An id or a search that is well formed may still find nothing, or a term may make no sense: 4xx is right then.
        case.call_and_validate(session=session, checks=CHECKS.get_by_names(_CHECKS))

    check()


_CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
]
