"""What is measured: cells of the bench's table, and what came of each."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROUND_TRIPS_MS = (0, 5, 25, 100)
CONNECTIONS = (1, 8, 32)
OVER_SMTP = ("baseline", "ion", "smtp")
SMTP_ROUND_TRIPS_A_MAIL = 4  # MAIL, RCPT, DATA, and the message itself (RFC 5321 section 3.3)
# What a mail takes besides its round trips, and the most mails a second that this kind of machine does: guesses, only
# to choose how many mails a cell needs to run for about as long as the others.
_OVERHEAD_SECONDS = 0.012
_FASTEST = 300.0
_FEWEST, _MOST = 30, 2_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One thing to measure.

    Attributes:
        name: `baseline`, `ion`, or of the ceilings `smtp` or `sqs`.
        connections: SMTP connections; 0 where none are made.
        round_trip_ms: The round trip time to the SMTP server in milliseconds.
    """

    name: str
    connections: int = 0
    round_trip_ms: int = 0

    @classmethod
    def from_text(cls, text: str) -> Self:
        """`NAME:CONNECTIONS:MS`, or `sqs`.

        Raises:
            ValueError: It is neither.
        """
        if text == "sqs":
            return cls(name=text)
        name, connections, away = text.split(":")
        if (
            name not in OVER_SMTP
            or int(connections) < 1
            or int(away) < 0
            or (name == "baseline" and connections != "1")
        ):
            raise ValueError(text)
        return cls(name=name, connections=int(connections), round_trip_ms=int(away))

    def __str__(self) -> str:
        at = f" over {self.connections} at {self.round_trip_ms} ms" if self.connections else ""
        return f"{self.name}{at}"

    def mails_for(self, seconds: float) -> int:
        """About as many mails as this takes so many seconds for."""
        one = SMTP_ROUND_TRIPS_A_MAIL * self.round_trip_ms / 1000 + _OVERHEAD_SECONDS
        rate = min(_FASTEST, self.connections / one) if self.connections else _FASTEST
        return int(min(_MOST, max(_FEWEST, rate * seconds)) // 10 * 10)  # full batches


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """What came of a cell.

    Attributes:
        cell: The cell.
        mails: Mails done: received, sent and deleted.
        seconds: How long that took, connecting included.
        aws_calls: AWS calls by operation, `sqs.ReceiveMessage` and so on, those that found nothing included.
        connections: SMTP connections made.
        replies: Replies of the SMTP server, greetings included: that many round trips.
        peak_memory_mb: The most memory the process had resident; 0 where it was not looked at.
        init_seconds: ion's import and set-up; 0 for the others.
    """

    cell: Cell
    mails: int
    seconds: float
    aws_calls: Mapping[str, int] = field(default_factory=dict)
    connections: int = 0
    replies: int = 0
    peak_memory_mb: float = 0.0
    init_seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Mails a second."""
        return self.mails / self.seconds

    @property
    def calls_a_mail(self) -> float:
        """AWS calls of all kinds for each mail."""
        return sum(self.aws_calls.values()) / self.mails

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "mails_per_second": round(self.rate, 2), "aws_calls_per_mail": self.calls_a_mail}


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """All measurements of one run, to be compared with each other and with no other run's."""

    measurements: tuple[Measurement, ...]

    def find(self, name: str, connections: int = 0, round_trip_ms: int = 0) -> Measurement | None:
        """The measurement of a cell, if it was measured."""
        wanted = Cell(name=name, connections=connections, round_trip_ms=round_trip_ms)
        return next((one for one in self.measurements if one.cell == wanted), None)

    def ratio(self, one: Measurement) -> float | None:
        """How many times the baseline's rate at the same distance."""
        baseline = self.find("baseline", 1, one.cell.round_trip_ms)
        return one.rate / baseline.rate if baseline and one.cell.connections else None

    def share(self, one: Measurement) -> float | None:
        """Which part it reaches of the lower one of its ceilings: SMTP alone over as many connections, SQS alone."""
        ceilings = [self.find("smtp", one.cell.connections, one.cell.round_trip_ms), self.find("sqs")]
        rates = [ceiling.rate for ceiling in ceilings if ceiling]
        return one.rate / min(rates) if len(rates) == len(ceilings) and one.cell.name in {"baseline", "ion"} else None


def course(round_trips_ms: Iterable[int], connections: Iterable[int]) -> list[Cell]:
    """The cells of a bench, in the order in which they are measured: what is compared stands close together."""
    connections = sorted(connections)
    cells = [Cell(name="sqs")]
    for ms in round_trips_ms:
        cells.append(Cell(name="baseline", connections=1, round_trip_ms=ms))
        cells += [Cell(name="ion", connections=n, round_trip_ms=ms) for n in connections]
        cells += [Cell(name="smtp", connections=n, round_trip_ms=ms) for n in connections]
    return cells
