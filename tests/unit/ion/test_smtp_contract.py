"""The courier over SMTP does what every courier must do."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from ion.smtp import SmtpCourier, courier_factory
from tests.support.courier_contract import CourierContract, ExtensionsContract, Serve
from tests.support.smtp_server import Accepted, Script, ScriptedServer, smtp_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


@dataclass(frozen=True)
class OverSmtp:
    courier: SmtpCourier
    accepted: Sequence[Accepted]


class TestSmtpCourier(CourierContract, ExtensionsContract):
    @pytest.fixture
    def serve(self) -> Serve:
        @asynccontextmanager
        async def serve(*scripts: Script, **settings: Any) -> AsyncIterator[OverSmtp]:
            async with ScriptedServer(*scripts) as server:
                courier = courier_factory(smtp_settings(server.port, **settings))()
                yield OverSmtp(courier, server.accepted)
                await courier.close()

        return serve
