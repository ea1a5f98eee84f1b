"""The breaker: what is known of the SMTP server's own state, from one drain to the next.

Closed, mail flows. A drain that finds the server unavailable opens it. While it is open a drain connects first, and
receives nothing until a connection stands; then it receives one mail at a time, on trial, until one gets an answer: a
server may let everybody in and then turn every mail away. So an outage of hours runs up no message's receive count.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ion.errors import LedgerUnavailable, ServerUnavailable

if TYPE_CHECKING:
    from ion.parts import Parts


class Breaker:
    """The breaker as one drain sees it.

    Attributes:
        trial: Whether it is open, and mail goes out one at a time to find out whether it may be closed.
    """

    def __init__(self, parts: Parts) -> None:
        self._ledger = parts.ledger
        self._couriers = parts.couriers
        self._telemetry = parts.telemetry
        self.trial = False

    async def admits(self) -> bool:
        """Whether anything may be received; where the breaker is open, only if a connection stands.

        Raises:
            LedgerUnavailable: It is not known whether it is open.
        """
        reason = await self._ledger.breaker()
        if not reason:
            return True
        courier = self._couriers()
        try:
            await courier.connect()
        except ServerUnavailable as error:
            self._telemetry.log("unavailable", level="WARNING", error=str(error), breaker=reason)
            return False
        finally:
            await courier.close()
        self.trial = True
        return True

    async def close(self) -> None:
        """The server has answered for a mail: believe in it again."""
        if self.trial:
            self.trial = False
            with contextlib.suppress(LedgerUnavailable):  # it stays open: the next drain goes on trial again
                await self._ledger.close_breaker()
            self._telemetry.log("available")

    async def open(self, error: ServerUnavailable) -> None:
        """The server is unavailable."""
        self._telemetry.log("unavailable", level="WARNING", error=str(error))
        with contextlib.suppress(LedgerUnavailable):  # it stays closed: the next drain finds out by itself
            await self._ledger.open_breaker(str(error))
