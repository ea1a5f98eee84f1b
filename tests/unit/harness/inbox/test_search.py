import pytest

from harness.inbox import search
from harness.inbox.search import SearchError


@pytest.fixture
def found(captured, store):
    """What a search finds among five mails, by their subjects."""
    captured.mail("Order 17", to=("Ann Archer <ann@example.com>",), X_Tags="urgent, shop")
    captured.mail("Order 18", to=("Bob <bob@example.org>",), Cc="carl@example.com", body="100% of it_all")
    captured.html("<p>Grüße aus Köln", subject="GRÜSSE", files=(("a.pdf", b"x" * 5_000, "application/pdf"),))
    captured.keep(b"Subject: blind\r\nTo: ann@example.com\r\n\r\nx", to=("ann@example.com", "hidden@example.net"))
    captured.keep(b"Subject: bare\r\nMessage-ID: <m1@example.com>\r\n\r\nx", sender="other@example.com")
    store.refresh()

    def find(query):
        return {mail.subject for mail in store.all(search.parse(query))}

    return find


ALL = {"Order 17", "Order 18", "GRÜSSE", "blind", "bare"}


@pytest.mark.parametrize(
    ("query", "subjects"),
    [
        ("", ALL),
        ("order", {"Order 17", "Order 18"}),
        ("order 17", {"Order 17"}),
        ('"order 18"', {"Order 18"}),
        ('"18 order"', set()),
        ("order -17", {"Order 18"}),
        ("order !17", {"Order 18"}),
        ("KÖLN", {"GRÜSSE"}),
        ("grüsse", {"GRÜSSE"}),
        ("17", {"Order 17"}),
        ("100%", {"Order 18"}),
        ("it_all", {"Order 18"}),
        ("i%all", set()),
        ("a.pdf", {"GRÜSSE"}),
        ("to:ann@example.com", {"Order 17", "GRÜSSE", "blind"}),
        ('to:"Ann Archer"', {"Order 17"}),
        ("-to:ann", {"Order 18", "bare"}),
        ("cc:carl", {"Order 18"}),
        ("bcc:hidden", {"blind"}),
        ("addressed:carl", {"Order 18"}),
        ("rcpt:hidden@example.net", {"blind"}),
        ("sender:other", {"bare"}),
        ("from:ion@", {"Order 17", "Order 18", "GRÜSSE"}),
        ("subject:order", {"Order 17", "Order 18"}),
        ("Subject:ORDER", {"Order 17", "Order 18"}),
        ("message-id:m1@", {"bare"}),
        ("has:attachment", {"GRÜSSE"}),
        ("has:inline", {"GRÜSSE"}),
        ("-has:attachments", ALL - {"GRÜSSE"}),
        ("is:unread", ALL),
        ("is:read", set()),
        ("tag:urgent", {"Order 17"}),
        ("tag:urg", set()),
        ("is:tagged", {"Order 17"}),
        ("after:2020-01-01", ALL),
        ("before:2020-01-01", set()),
        ("-before:2020-01-01", ALL),
        ("after:2020-01-01T12:00+02:00", ALL),
        ("larger:4k", {"GRÜSSE"}),
        ("smaller:4000", ALL - {"GRÜSSE"}),
        ("to:", ALL),
        ("foo:bar", set()),
        ("' OR 1=1 --", set()),
        ('"', ALL),
    ],
)
def test_a_search_finds_what_mailpit_would(found, query, subjects):
    """Words, phrases, negation, fields and states find what they say."""
    assert found(query) == subjects


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("before:yesterday", "'before:yesterday': a date such as"),
        ("larger:many", "'larger:many': a size in bytes"),
        ("smaller:1g", "a size in bytes"),
        ("x " * 51, "50 terms"),
        ("x" * 2_001, "2,000 characters"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(query, complaint):
    """A wrong term is named, and not ignored: what is found may be what is deleted."""
    with pytest.raises(SearchError, match=complaint):
        search.parse(query)


def test_a_time_without_offset_is_in_the_zone_that_is_given():
    """`tz` says where a date begins."""
    here, there = (search.parse("after:2026-01-01", timezone=zone).values[0] for zone in ("UTC", "Pacific/Auckland"))
    assert here - there == 13 * 3600


@pytest.mark.parametrize("zone", ["Nowhere/At-All", "../../etc/passwd", "/etc/passwd", "Europe", "x" * 500])
def test_an_unknown_time_zone_is_refused(zone):
    """A zone that there is not is named."""
    with pytest.raises(SearchError, match="no time zone"):
        search.parse("a", timezone=zone)
