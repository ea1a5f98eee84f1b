# The topic that publishers write to, the topic of the alarms that wake the function, and who hears them.

resource "aws_sns_topic" "input" {
  #checkov:skip=CKV_AWS_26: A topic stores a message only until it is delivered, and the queues behind it encrypt. AWS's own key for SNS would shut out publishers such as EventBridge and other accounts, a customer key costs by the month; whoever needs one adds it here.
  name = "${var.name}-input-topic"
  tags = var.tags
}

locals {
  # Partition, region and account are read off this ARN: the data source aws_region names its attribute differently in
  # versions 5 and 6 of the provider.
  arn       = split(":", aws_sns_topic.input.arn)
  partition = local.arn[1]
  region    = local.arn[3]
  account   = local.arn[4]
}

# Publishers of this account need sns:Publish in their own IAM policy; nobody else gets in, and nobody without TLS.
resource "aws_sns_topic_policy" "input" {
  arn = aws_sns_topic.input.arn

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "AccountByIam"
        Effect    = "Allow"
        Principal = { AWS = "arn:${local.partition}:iam::${local.account}:root" }
        Action    = "sns:Publish"
        Resource  = aws_sns_topic.input.arn
      },
      {
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sns:Publish"
        Resource  = aws_sns_topic.input.arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

resource "aws_sns_topic_subscription" "queue" {
  topic_arn            = aws_sns_topic.input.arn
  protocol             = "sqs"
  endpoint             = aws_sqs_queue.input.arn
  raw_message_delivery = true

  # What SNS cannot put into the input queue ends where every undeliverable mail ends, and a redrive brings it back.
  redrive_policy = jsonencode({ deadLetterTargetArn = aws_sqs_queue.deadletter.arn })
}

# No dead-letter queue on this subscription and the next: what they carry is a call to wake up. A lost one costs
# nothing, since the alarm calls again; a kept one would be a copy of a mail, and a redrive would send that mail twice.
resource "aws_sns_topic_subscription" "function" {
  topic_arn  = aws_sns_topic.input.arn
  protocol   = "lambda"
  endpoint   = aws_lambda_function.ion.arn
  depends_on = [aws_lambda_permission.input_topic]
}

resource "aws_sns_topic" "wakeup" {
  #checkov:skip=CKV_AWS_26: It carries an alarm's name and state, nothing of a mail; and CloudWatch cannot publish to a topic under AWS's own key for SNS.
  name = "${var.name}-input-queue-size-alarm-topic"
  tags = var.tags
}

resource "aws_sns_topic_policy" "wakeup" {
  arn = aws_sns_topic.wakeup.arn

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "Alarms"
      Effect    = "Allow"
      Principal = { Service = "cloudwatch.amazonaws.com" }
      Action    = "sns:Publish"
      Resource  = aws_sns_topic.wakeup.arn
      Condition = { ArnEquals = { "aws:SourceArn" = [for name in [local.wakeup_alarm, local.age_alarm] : "${local.alarm_arn}:${name}"] } }
    }]
  })
}

resource "aws_sns_topic_subscription" "wakeup" {
  topic_arn  = aws_sns_topic.wakeup.arn
  protocol   = "lambda"
  endpoint   = aws_lambda_function.ion.arn
  depends_on = [aws_lambda_permission.wakeup_topic]
}

# Where the alarms for people go, if anybody wants them.
resource "aws_sns_topic" "notification" {
  #checkov:skip=CKV_AWS_26: For the wake-up topic's reasons.
  count = length(var.notification_emails) > 0 ? 1 : 0

  name = "${var.name}-notification-topic"
  tags = var.tags
}

resource "aws_sns_topic_policy" "notification" {
  count = length(var.notification_emails) > 0 ? 1 : 0

  arn = aws_sns_topic.notification[0].arn

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "Alarms"
      Effect    = "Allow"
      Principal = { Service = "cloudwatch.amazonaws.com" }
      Action    = "sns:Publish"
      Resource  = aws_sns_topic.notification[0].arn
      Condition = { ArnLike = { "aws:SourceArn" = "${local.alarm_arn}:${var.name}-*" } }
    }]
  })
}

resource "aws_sns_topic_subscription" "notification" {
  for_each = toset(var.notification_emails)

  topic_arn = aws_sns_topic.notification[0].arn
  protocol  = "email"
  endpoint  = each.value
}
