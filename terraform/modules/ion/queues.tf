# The input queue and its dead-letter queue.

locals {
  day_seconds = 86400

  # What an SNS topic takes, too, unless told otherwise; and all that versions of the provider before 6.8 can ask for.
  max_message_bytes = 262144

  # Written out, since each queue's policy names the queue itself and the two queues name each other.
  queue_arn            = "arn:${local.partition}:sqs:${local.region}:${local.account}"
  input_queue          = "${var.name}-input-queue"
  input_queue_arn      = "${local.queue_arn}:${local.input_queue}"
  deadletter_queue     = "${var.name}-input-deadletter-queue"
  deadletter_queue_arn = "${local.queue_arn}:${local.deadletter_queue}"

  # Both admit the topic only (the dead-letter queue for what the subscription could not deliver), and nobody without
  # TLS. ion itself gets in by its role.
  queue_policies = {
    for arn in [local.input_queue_arn, local.deadletter_queue_arn] : arn => jsonencode({
      Version = "2012-10-17"
      Statement = [
        {
          Sid       = "InputTopic"
          Effect    = "Allow"
          Principal = { Service = "sns.amazonaws.com" }
          Action    = "sqs:SendMessage"
          Resource  = arn
          Condition = { ArnEquals = { "aws:SourceArn" = aws_sns_topic.input.arn } }
        },
        {
          Sid       = "TlsOnly"
          Effect    = "Deny"
          Principal = "*"
          Action    = "sqs:*"
          Resource  = arn
          Condition = { Bool = { "aws:SecureTransport" = "false" } }
        },
      ]
    })
  }
}

resource "aws_sqs_queue" "input" {
  name                       = local.input_queue
  visibility_timeout_seconds = var.visibility_timeout_seconds
  message_retention_seconds  = var.input_retention_days * local.day_seconds
  max_message_size           = local.max_message_bytes
  sqs_managed_sse_enabled    = true
  policy                     = local.queue_policies[local.input_queue_arn]
  tags                       = var.tags

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.deadletter.arn
    maxReceiveCount     = var.max_receive_count
  })

  lifecycle {
    precondition {
      condition     = var.visibility_timeout_seconds >= var.timeout_seconds
      error_message = "visibility_timeout_seconds must be no less than timeout_seconds: a message would come back while the function still works on it."
    }
  }
}

resource "aws_sqs_queue" "deadletter" {
  name                      = local.deadletter_queue
  message_retention_seconds = var.deadletter_retention_days * local.day_seconds
  max_message_size          = local.max_message_bytes
  sqs_managed_sse_enabled   = true
  policy                    = local.queue_policies[local.deadletter_queue_arn]
  tags                      = var.tags

  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [local.input_queue_arn]
  })

  lifecycle {
    precondition {
      condition     = var.deadletter_retention_days > var.input_retention_days
      error_message = "deadletter_retention_days must be more than input_retention_days: SQS keeps counting from the first enqueueing, so a dead letter would vanish before anybody saw it."
    }
  }
}
