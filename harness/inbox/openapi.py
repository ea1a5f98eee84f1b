"""The OpenAPI description of the API, as `GET /api/v1/openapi.json` gives it; a test holds the server to it."""

from __future__ import annotations

from typing import Any

from harness.faults import Stage
from harness.inbox.chaos import DEFAULTS, MAX_DELAY_SECONDS
from ion import __version__

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_FLAG: Schema = {"type": "boolean"}
_TIME: Schema = {"type": "string", "format": "date-time"}
_TEXTS: Schema = {"type": "array", "items": _TEXT}


def document() -> Schema:
    """The whole description."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ion's inbox",
            "version": __version__,
            "description": "Captured mail for programs: Mailpit's API for messages, and a little of ion's own.",
        },
        "servers": [{"url": "/api/v1"}],
        "paths": _paths(),
        "components": {"schemas": _schemas()},
    }


def _paths() -> Schema:
    by_id = [_in_path("ID", "A mail's id, the id that it was sent with, or `latest`"), _QUERY, _ZONE]
    page = [_argument("start", 2**53, 0), _argument("limit", 100_000, 50), _BEFORE]
    mail = "/message/{ID}"
    return {
        "/messages": {
            "get": _operation("List mails, the newest first", page, _json("MessagesSummary")),
            "put": _operation("Mark mails read or unread: some, those of a search, or all", [_ZONE], _OK, "ReadState"),
            "delete": _operation("Delete mails: some, or all without IDs", [], _OK, "Ids"),
        },
        "/search": {
            "get": _operation("Search", [_NEEDED_QUERY, _ZONE, *page], _json("MessagesSummary")),
            "delete": _operation("Delete what a search finds", [_NEEDED_QUERY, _ZONE], _OK),
        },
        mail: {"get": _operation("A mail with its bodies; marks it read", by_id, _json("Message"), found=True)},
        f"{mail}/headers": {"get": _operation("A mail's headers", by_id, _json("Headers"), found=True)},
        f"{mail}/raw": {"get": _operation("A mail's exact bytes", [*by_id, _DOWNLOAD], {"text/plain": {}}, found=True)},
        f"{mail}/part/{{PartID}}": {
            "get": _operation(
                "A part of a mail", [*by_id, _in_path("PartID", "As in Message")], {"*/*": {}}, found=True
            )
        },
        f"{mail}/story": {"get": _operation("What became of a mail, and how", by_id, _json("Story"), found=True)},
        "/tags": {"get": _operation("All tags", [], {"application/json": {"schema": _TEXTS}})},
        "/info": {"get": _operation("What this is, and how much there is", [], _json("Information"))},
        "/send": {
            "post": _operation(
                "Publish a mail to ion's topic; waits a little for its arrival",
                [],
                _json("Sent"),
                "Outgoing",
                fails=True,
            )
        },
        "/chaos": {
            "get": _operation("The faults that are set", [], _json("Chaos")),
            "put": _operation("Set faults; what is left out is turned off", [], _json("Chaos"), "Chaos"),
        },
        "/dead-letters": {
            "get": _operation("The dead letters", [], {"application/json": {"schema": _list(_ref("DeadLetter"))}})
        },
        "/dead-letters/redrive": {"post": _operation("Send dead letters once more: some, or all", [], _OK, "Ids")},
        "/openapi.json": {"get": _operation("This description", [], {"application/json": {"schema": _object({})}})},
    }


def _schemas() -> dict[str, Schema]:
    address = _object({"Name": _TEXT, "Address": _TEXT})
    people = {"From": address, **{name: _list(address) for name in ("To", "Cc", "Bcc", "ReplyTo")}}
    common = {
        "ID": _TEXT,
        "MessageID": _TEXT,
        **people,
        "Subject": _TEXT,
        "Username": _TEXT,
        "Tags": _TEXTS,
        "Size": _COUNT,
    }
    part = _object(
        {
            **_texts("PartID", "FileName", "ContentType", "ContentID"),
            "Size": _COUNT,
            "Checksums": _texts_in("MD5", "SHA1", "SHA256"),
        }
    )
    letter = _object({**_texts("IonID", "Reason", "Detail", "FailedAt", "Body"), "Attributes": _map(_TEXT)})
    summary = _object({**common, "Read": _FLAG, "Created": _TIME, "Attachments": _COUNT, "Snippet": _TEXT})
    return {
        "MessageSummary": summary,
        "MessagesSummary": _object(
            {
                **dict.fromkeys(("total", "unread", "count", "messages_count", "messages_unread", "start"), _COUNT),
                "tags": _TEXTS,
                "messages": _list(_ref("MessageSummary")),
            }
        ),
        "Message": _object(
            {
                **common,
                **_texts("Text", "HTML", "ReturnPath"),
                "Read": _FLAG,
                "Date": _TIME,
                "Inline": _list(part),
                "Attachments": _list(part),
                "ListUnsubscribe": _object({**_texts("Header", "HeaderPost", "Errors"), "Links": _TEXTS}),
                "Envelope": _object({"From": _TEXT, "To": _TEXTS}),
                "Notes": _TEXTS,
            }
        ),
        "Headers": _map(_TEXTS),
        "Information": _object(
            {
                **_texts("Version", "LatestVersion", "Database", "Run"),
                "DatabaseSize": _COUNT,
                "Messages": _COUNT,
                "Unread": _COUNT,
                "Live": _FLAG,
                "Tags": _map(_COUNT),
                "RuntimeStats": _object({"Uptime": _COUNT, "SMTPAccepted": _COUNT, "SMTPRejected": _COUNT}),
            }
        ),
        "Story": _object(
            {
                "IonID": _TEXT,
                "Document": {},
                "Attempts": _COUNT,
                "Copies": _COUNT,
                "Ledger": _map({}),
                "Steps": _list(_object({"At": {"type": "number"}, **_texts("What", "Detail", "Tone")})),
                "DeadLetters": _list(_ref("DeadLetter")),
            }
        ),
        "DeadLetter": letter,
        "Ids": _object({"IDs": _TEXTS}, needed=()),
        "ReadState": _object({"IDs": _TEXTS, "Read": _FLAG, "Search": _TEXT}, needed=()),
        "Sent": _texts_in("ID"),
        "Failure": _texts_in("Error"),
        "Outgoing": _outgoing(),
        "Chaos": _chaos(),
    }


def _outgoing() -> Schema:
    person = _object({"Email": _TEXT, "Name": _TEXT}, needed=("Email",))
    file = _object(_texts("Filename", "Content", "ContentType", "ContentID"), needed=("Filename", "Content"))
    return _object(
        {
            "From": person,
            **{name: _list(person) for name in ("To", "Cc", "ReplyTo")},
            "Bcc": _TEXTS,
            "Tags": _TEXTS,
            "Headers": _map(_TEXT),
            "Attachments": _list(file),
            **_texts("Subject", "Text", "HTML"),
        },
        needed=("From", "To"),
        closed=True,
    )


def _chaos() -> Schema:
    trigger = {
        "ErrorCode": {"type": "integer", "anyOf": [{"const": 0}, {"minimum": 400, "maximum": 599}]},
        "Probability": {"type": "integer", "minimum": 0, "maximum": 100},
        "Drop": _FLAG,
        "DelaySeconds": {"type": "number", "minimum": 0, "maximum": MAX_DELAY_SECONDS},
        "Times": {"type": "integer", "minimum": 0, "maximum": 2**31},
    }
    one = _object(trigger, needed=(), closed=True)
    stages = _object({stage.value: one for stage in Stage}, needed=(), closed=True)
    return _object({**dict.fromkeys(DEFAULTS, one), "Stages": stages, "Closed": _FLAG}, needed=(), closed=True)


def _object(properties: Schema, *, needed: tuple[str, ...] | None = None, closed: bool = False) -> Schema:
    """An object; all its properties are needed, unless `needed` names which."""
    required = list(properties if needed is None else needed)
    return {
        "type": "object",
        "properties": properties,
        **({"required": required} if required else {}),
        **({"additionalProperties": False} if closed else {}),
    }


def _texts(*names: str) -> Schema:
    return dict.fromkeys(names, _TEXT)


def _texts_in(*names: str) -> Schema:
    return _object(_texts(*names))


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _map(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(name: str) -> Schema:
    return {"application/json": {"schema": _ref(name)}}


def _argument(name: str, most: int, default: int) -> Schema:
    schema = {"type": "integer", "minimum": 0, "maximum": most, "default": default}
    return {"name": name, "in": "query", "schema": schema}


def _in_path(name: str, description: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "description": description, "schema": _TEXT}


_OK: Schema = {"text/plain": {"schema": {"const": "ok"}}}
_QUERY: Schema = {"name": "query", "in": "query", "description": "With `latest`: of what this finds", "schema": _TEXT}
_NEEDED_QUERY: Schema = {"name": "query", "in": "query", "required": True, "schema": {"type": "string", "minLength": 1}}
_ZONE: Schema = {"name": "tz", "in": "query", "description": "Of before: and after:, as Europe/Berlin", "schema": _TEXT}
_BEFORE: Schema = {"name": "before", "in": "query", "description": "Only mails older than this", "schema": _TEXT}
_DOWNLOAD: Schema = {"name": "dl", "in": "query", "description": "1: as a file", "schema": {"const": "1"}}


def _operation(
    summary: str, arguments: list[Schema], answer: Schema, body: str = "", *, found: bool = False, fails: bool = False
) -> Schema:
    """One operation; `found`: 404 where there is no such mail; `fails`: its errors are JSON."""
    plain = {"text/plain": {"schema": _TEXT}}
    responses = {
        "200": {"description": "Done", "content": answer},
        "400": {"description": "What was wrong", "content": _json("Failure") | plain if fails else plain},
        "403": {"description": "Asked for by a page of another site", "content": plain},
    }
    if body:
        responses["413"] = {"description": "The body is too large", "content": plain}
    if found:
        responses["404"] = {"description": "There is no such mail", "content": plain}
    return {
        "summary": summary,
        **({"parameters": arguments} if arguments else {}),
        **({"requestBody": {"required": fails, "content": _json(body)}} if body else {}),
        "responses": responses,
    }
