"""Documents for tests: valid ones of every shape, and what can be done to them to make them invalid."""

from __future__ import annotations

import base64
import copy
import json
from datetime import datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from ion.request import HEADER_PREFIXES_REFUSED, HEADERS_REFUSED

Document = dict[str, Any]

# What may stand in a header: everything but control characters, the two Unicode line breaks and lone surrogates.
CHARACTERS = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"))
BODIES = st.text(st.characters(exclude_categories=("Cs",)), max_size=400) | st.text("ab =.\r\n\t", max_size=400)
_ATEXT = "abcXYZ019!#$%&'*+/=?^_`{|}~-"


def lines(most: int, least: int = 0) -> st.SearchStrategy[str]:
    """Texts that may stand in a header."""
    return st.text(CHARACTERS, min_size=least, max_size=most) | st.text(
        'ab "\\,;:@<>()=?é水😀', min_size=least, max_size=most
    )


domains = st.lists(
    st.sampled_from(["example", "mail", "bücher", "例え", "x", "a-b", "9", "xn--exmple-cua"]), min_size=1, max_size=3
).map(lambda labels: ".".join([*labels, "org"]))
locals_ = st.lists(st.text(_ATEXT, min_size=1, max_size=12), min_size=1, max_size=3).map(".".join) | st.sampled_from(
    ["ann", "bob", "jürgen", "用户", "o'neil"]
)
mailboxes = st.builds("{}@{}".format, locals_, domains)


@st.composite
def addresses(draw: st.DrawFn) -> str:
    """`a@b`, `Name <a@b>` or `"Name" <a@b>`."""
    mailbox = draw(mailboxes)
    form = draw(st.sampled_from(["bare", "name", "quoted"]))
    if form == "bare":
        return mailbox
    if form == "name":
        name = draw(lines(60).filter(lambda text: not set(text) & set('"@,;:<>')))
        return f"{name} <{mailbox}>"
    name = draw(lines(60)).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{name}" <{mailbox}>'


one_or_more = addresses() | st.lists(addresses(), min_size=1, max_size=8)
header_names = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=":"), min_size=1, max_size=76
)
headers = st.dictionaries(
    header_names.filter(
        lambda name: name.lower() not in HEADERS_REFUSED and not name.lower().startswith(HEADER_PREFIXES_REFUSED)
    ),
    lines(300),
    max_size=4,
).filter(lambda mapping: len({name.lower() for name in mapping}) == len(mapping))
content_types = st.sampled_from(
    [
        "application/pdf",
        "image/png",
        "text/plain; charset=utf-8",
        'text/csv; header="a  b;c"',
        "TEXT/calendar;method=REQUEST",
    ]
)
filenames = lines(255, 1).filter(
    lambda name: not set(name) & set("/\\") and name.strip(" ") == name and name not in {".", ".."}
)
attachments = st.lists(
    st.fixed_dictionaries(
        {"filename": filenames, "content_base64": st.binary(max_size=300).map(lambda b: base64.b64encode(b).decode())},
        optional={"content_type": content_types, "content_id": st.text("abcz09.@_-", min_size=1, max_size=100)},
    ),
    max_size=3,
    unique_by=lambda entry: entry.get("content_id", id(entry)),
)
ids = lines(256, 1).filter(lambda text: text.isprintable() and not text.startswith("ion:"))
tags = st.dictionaries(lines(64, 1), lines(256), max_size=4)
offsets = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.datetimes(timezones=offsets).map(datetime.isoformat)


@st.composite
def sends(draw: st.DrawFn) -> Document:
    """A valid document that sends a mail."""
    document: Document = draw(
        st.fixed_dictionaries(
            {"action": st.just("send"), "recipient": one_or_more, "subject": lines(998)},
            optional={
                "cc": one_or_more | st.just([]),
                "bcc": one_or_more,
                "reply_to": one_or_more,
                "sender": addresses(),
                "headers": headers,
                "attachments": attachments,
                "id": ids,
                "expires_at": times,
                "tags": tags,
            },
        )
    )
    shape = draw(st.sampled_from(["text", "html", "both"]))
    if shape != "html":
        document["body_text"] = draw(BODIES)
    if shape != "text":
        document["body_html"] = draw(BODIES)
    return document


redrives = st.fixed_dictionaries(
    {"action": st.just("redrive")},
    optional={"reason": lines(64, 1), "ids": st.lists(ids, min_size=1, max_size=5), "max": st.integers(1, 1_000_000)},
)
documents = sends() | redrives

# Whatever JSON can say, and what is likely to slip through.
SPECIAL = (
    st.sampled_from(
        ["", " ", "\x00", "a\r\nBcc: x@example.com", "\ud800", "\u2028", "a@b@c", "@", "<>", '"', "a@[::1]"]
    )
    | st.sampled_from(["multipart/mixed", "message/rfc822", "../x", "QQ", "Q Q=", "2030-01-01", "ion:x", "x" * 3_000])
    | st.sampled_from([None, True, 0, -1, 1.5, 10**30, [], {}, [[]], [None], {"": ""}, {"Bcc": "x"}, {"a\nb": "c"}])
)
json_values = st.recursive(
    SPECIAL | st.text(max_size=20) | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def mutated(draw: st.DrawFn) -> Document:
    """A valid document with one to three things in it put in, taken out or exchanged."""

    def anything() -> Any:
        return copy.deepcopy(draw(json_values))  # lists and dictionaries to draw from stay as they are: this is changed

    document: Document = json.loads(json.dumps(draw(documents)))
    for _ in range(draw(st.integers(1, 3))):
        place: Any = document
        while True:
            keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], (dict, list)) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            change = draw(st.sampled_from(["exchange", "remove", "add"]))
            if change == "exchange":
                place[key] = anything()
            elif change == "remove":
                del place[key]
            elif isinstance(place, dict):
                names = st.sampled_from(["recipients", "Bcc", "content_id", "max", "id"]) | st.text(max_size=80)
                place[draw(names)] = anything()
            else:
                place.append(anything())
            break
    return document
