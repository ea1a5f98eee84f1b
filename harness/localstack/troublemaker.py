"""What makes AWS go wrong in LocalStack's process: calls that fail by rule, messages that are delivered twice."""

from __future__ import annotations

import random
import threading
from collections import Counter
from typing import TYPE_CHECKING

from localstack.aws import handlers
from localstack.aws.api import CommonServiceException, RequestContext
from localstack.aws.protocol.serializer import create_serializer
from localstack.http import Request, Resource, Response
from localstack.services.internal import get_internal_apis
from localstack.services.sqs.models import SqsQueue, sqs_stores

from harness.localstack.trouble import REDELIVERY_PATH, TROUBLE_PATH, TroubleRule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# AWS_EXECUTION_ENV, which every function has in its environment, as botocore puts it into the header User-Agent.
FUNCTION_MARK = "exec-env/AWS_Lambda_"


def install() -> None:
    """Put the troublemaker into LocalStack's chain of handlers, and its paths among LocalStack's own."""
    trouble = Trouble()
    handlers.serve_custom_service_request_handlers.append(trouble.on_request)
    handlers.run_custom_response_handlers.append(trouble.on_response)
    get_internal_apis().add(Resource(TROUBLE_PATH, trouble))
    get_internal_apis().add(Resource(REDELIVERY_PATH, Redelivery()))


class _Active:
    """A rule while it is active."""

    def __init__(self, rule: TroubleRule) -> None:
        self.rule = rule
        self.over = threading.Event()
        self._dice = random.Random(rule.seed)  # noqa: S311 - repeatable is what it must be

    def strikes(self, context: RequestContext, service: str, operation: str) -> bool:
        """Whether it strikes this call."""
        rule = self.rule
        if rule.service != service or (rule.operations and operation not in rule.operations):
            return False
        if rule.functions_only and FUNCTION_MARK not in context.request.headers.get("User-Agent", ""):
            return False
        return self._dice.random() < rule.share

    def error(self) -> CommonServiceException | None:
        """What it does to the call, which waits first: the error, if there is one."""
        if self.rule.delay_seconds:
            self.over.wait(self.rule.delay_seconds)
        if not self.rule.code:
            return None
        message = "The answer was lost on purpose." if self.rule.after else "The call was refused on purpose."
        return CommonServiceException(self.rule.code, message, status_code=self.rule.status)


class Trouble:
    """The active rules: POST replaces them, GET says how many calls were struck since LocalStack started."""

    def __init__(self) -> None:
        self._active: tuple[_Active, ...] = ()
        self._struck: Counter[str] = Counter()
        self._lock = threading.Lock()

    def on_get(self, _request: Request) -> Response:
        """The counts, by service and operation."""
        with self._lock:
            return _json(dict(self._struck))

    def on_post(self, request: Request) -> Response:
        """Make `{"rules": [...]}` the active rules."""

        def replace() -> dict[str, int]:
            active = tuple(_Active(TroubleRule.from_document(document)) for document in request.json["rules"])
            before, self._active = self._active, active
            for each in before:
                each.over.set()
            return {}

        return _answer(replace)

    def on_request(self, _chain: object, context: RequestContext, _response: Response) -> None:
        """Strike a call that LocalStack is about to serve.

        Raises:
            CommonServiceException: The call fails; LocalStack writes it in the protocol that the client speaks.
        """
        if self._active and context.operation is not None and not context.is_internal_call:
            self._strike(context, self._active)

    def on_response(self, _chain: object, context: RequestContext, response: Response) -> None:
        """Strike the answer to a call that LocalStack has served."""
        for each in context.get("trouble") or ():
            error = each.error()
            if error is not None:
                context.service_exception = error  # for LocalStack's log
                serializer = create_serializer(context.service, context.protocol)
                lost = serializer.serialize_error_to_response(
                    error, context.operation, context.request.headers, context.request_id
                )
                response.headers.clear()  # they are about the answer that is lost
                response.update_from(lost)

    def _strike(self, context: RequestContext, active: Iterable[_Active]) -> None:
        service, operation = context.service.service_name, context.operation.name
        for each in active:
            with self._lock:
                if not each.strikes(context, service, operation):
                    continue
                self._struck[f"{service}.{operation}"] += 1
            if each.rule.after:
                context.trouble = (*(context.get("trouble") or ()), each)
            elif error := each.error():
                raise error
            if each.rule.code:
                return  # one error a call


class Redelivery:
    """Delivers messages again that somebody holds, as standard queues may: POST `{"queue", "share", "seed"}`.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/standard-queues-at-least-once-delivery.html
    """

    def on_post(self, request: Request) -> Response:
        """Make a share of a queue's messages in flight visible; answers with their number."""

        def redeliver() -> dict[str, int]:
            name, share, seed = (request.json[key] for key in ("queue", "share", "seed"))
            return {"redelivered": _redeliver(_queue(name), share, random.Random(seed))}  # noqa: S311 - repeatable

        return _answer(redeliver)


def _redeliver(queue: SqsQueue, share: float, dice: random.Random) -> int:
    with queue.mutex:
        chosen = [message for message in list(queue.inflight) if dice.random() < share]
        for message in chosen:
            message.update_visibility_timeout(0)
            del queue.inflight[message]
            queue._put_message(message)  # noqa: SLF001 - what SqsQueue does itself when a visibility timeout is over
    return len(chosen)


def _queue(name: str) -> SqsQueue:
    for _account, _region, store in sqs_stores.iter_stores():
        if name in store.queues:
            return store.queues[name]
    raise ValueError(f"there is no queue {name!r}")


def _answer(act: Callable[[], dict[str, int]]) -> Response:
    """What a request's action returns, or why it was refused."""
    try:
        return _json(act())
    except KeyError as error:
        return _json({"error": f"{error} is missing"}, status=400)
    except (TypeError, ValueError) as error:
        return _json({"error": str(error)}, status=400)


def _json(document: dict[str, int] | dict[str, str], *, status: int = 200) -> Response:
    response = Response(status=status)
    response.set_json(document)
    return response
