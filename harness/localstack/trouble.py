"""What goes wrong on the AWS side: the rules by which LocalStack fails calls, as whoever sets them sees them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

TROUBLE_PATH = "/_ion/trouble"
REDELIVERY_PATH = "/_ion/redelivery"


@dataclass(frozen=True, kw_only=True)
class TroubleRule:
    """A kind of call that fails, or takes long, for a share of the calls.

    Attributes:
        service: As boto names it: `dynamodb`.
        operations: As boto's API reference names them: `("PutItem",)`; none: all of the service's.
        share: Of the calls that fit, this share is struck, 0 to 1. The same seed strikes the same ones, counted in the
            order in which they come.
        code: AWS's error code (`ThrottlingException`); none: the call is only delayed.
        status: The HTTP status of the error. boto3 tries 500 and 503 again whatever the code.
        after: Strike when the operation has taken effect: its answer is lost. Else it takes no effect.
        delay_seconds: Wait before striking; not longer than the rules are active.
        functions_only: Spare all calls but the functions' own, so that whoever watches them still can. Calls that
            LocalStack's services make among themselves are spared always.
        seed: Of the share.

    Raises:
        ValueError: A value is out of its range.
    """

    service: str
    operations: tuple[str, ...] = ()
    share: float = 1.0
    code: str = ""
    status: int = 400
    after: bool = False
    delay_seconds: float = 0.0
    functions_only: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share is {self.share}; it has to be from 0 to 1")
        if not 400 <= self.status <= 599:  # noqa: PLR2004 - RFC 9110's classes of errors
            raise ValueError(f"status is {self.status}; an error's is from 400 to 599")
        if self.delay_seconds < 0:
            raise ValueError(f"delay_seconds is {self.delay_seconds}; it cannot be negative")
        if not self.code and not self.delay_seconds:
            raise ValueError("a rule without code and delay_seconds does nothing; give it one of them")

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> TroubleRule:
        """The rule that `to_document` wrote.

        Raises:
            TypeError: It has other fields than a rule has.
            ValueError: A value is out of its range.
        """
        return cls(**{**document, "operations": tuple(document.get("operations", ()))})

    def to_document(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)
