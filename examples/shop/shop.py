"""A shop that confirms orders by mail: it publishes a document, and ion does the rest."""

import json


def confirm(sns, topic_arn, *, address, number):
    """Publish the confirmation of an order; the id keeps a repeat from becoming a second mail."""
    document = {
        "action": "send",
        "id": f"order/{number}",
        "recipient": address,
        "subject": f"Order {number}",
        "body_text": f"Thank you for your order {number}.",
        "body_html": f"<p>Thank you for your order <b>{number}</b>.</p>",
    }
    sns.publish(TopicArn=topic_arn, Message=json.dumps(document))
