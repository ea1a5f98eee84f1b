"""The shop's own tests: the fixtures come with `pip install '<the checkout of ion>[harness]'`."""

import shop


def test_an_order_is_confirmed(ion_stack, ion_inbox):
    """The customer gets the mail, in both forms."""
    shop.confirm(ion_stack.sns, ion_stack.topic_arn, address="ann@example.com", number=17)
    mail = ion_inbox.wait_for(to="ann@example.com", subject="Order 17")
    assert "Thank you for your order 17." in mail.text
    assert "<b>17</b>" in mail.html


def test_a_repeat_is_one_mail(ion_stack, ion_inbox):
    """However often the shop publishes one confirmation, the customer gets one."""
    for _ in range(3):
        shop.confirm(ion_stack.sns, ion_stack.topic_arn, address="bob@example.com", number=18)
    shop.confirm(ion_stack.sns, ion_stack.topic_arn, address="bob@example.com", number=19)
    for number in (18, 19):  # in whatever order they come
        ion_inbox.wait_for(subject=f"Order {number}")
    assert [mail.subject for mail in ion_inbox.mails("subject:18")] == ["Order 18"]


def test_a_busy_server_delays_the_mail_and_no_more(ion_stack, ion_inbox, ion_faults):
    """A server that says 451 twice gets the mail the third time."""
    ion_faults.reply("rcpt", 451, times=2)
    shop.confirm(ion_stack.sns, ion_stack.topic_arn, address="carl@example.com", number=20)
    assert ion_inbox.wait_for(to="carl@example.com").subject == "Order 20"
    assert ion_faults.fired("rcpt") == 2
