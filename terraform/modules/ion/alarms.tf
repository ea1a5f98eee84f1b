# The alarm that wakes the function, and those that wake people.

locals {
  alarm_arn     = "arn:${local.partition}:cloudwatch:${local.region}:${local.account}:alarm"
  wakeup_alarm  = "${var.name}-input-queue-size-alarm"
  age_alarm     = "${var.name}-oldest-message-alarm"
  notifications = aws_sns_topic.notification[*].arn
}

# Mail is waiting: wake the function. An alarm acts on a transition only, so ion sets it back to OK itself.
resource "aws_cloudwatch_metric_alarm" "wakeup" {
  alarm_name          = local.wakeup_alarm
  alarm_description   = "Wakes the function ${var.name} while a message is visible in ${local.input_queue}."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = aws_sqs_queue.input.name }
  statistic           = "Maximum"
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  period              = var.wakeup_period_seconds
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.wakeup.arn]
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "backlog" {
  alarm_name          = "${var.name}-backlog-alarm"
  alarm_description   = "${var.backlog_threshold} mails or more have been waiting in ${local.input_queue} for 15 minutes: is the SMTP server down, or is reserved_concurrency too low?"
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = aws_sqs_queue.input.name }
  statistic           = "Minimum"
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = var.backlog_threshold
  period              = 300
  evaluation_periods  = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.notifications
  ok_actions          = local.notifications
  tags                = var.tags
}

# It wakes the function, too: where the wake-up alarm is stuck in ALARM, as after three wake-ups in a row that died before
# they could set it to OK, nothing else would but a publish.
resource "aws_cloudwatch_metric_alarm" "oldest_message" {
  alarm_name          = local.age_alarm
  alarm_description   = "The oldest mail in ${local.input_queue} has waited ${var.oldest_message_threshold_seconds} seconds: the SMTP server is down, or keeps putting this mail off, or ion was not woken, which this alarm does, too."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateAgeOfOldestMessage"
  dimensions          = { QueueName = aws_sqs_queue.input.name }
  statistic           = "Maximum"
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = var.oldest_message_threshold_seconds
  period              = 300
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = concat(local.notifications, [aws_sns_topic.wakeup.arn])
  ok_actions          = local.notifications
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "dead_letters" {
  alarm_name          = "${var.name}-dead-letters-alarm"
  alarm_description   = "Mail lies in ${local.deadletter_queue}; each message's attributes say why."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = aws_sqs_queue.deadletter.name }
  statistic           = "Maximum"
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  period              = 300
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.notifications
  ok_actions          = local.notifications
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "errors" {
  alarm_name          = "${var.name}-errors-alarm"
  alarm_description   = "The function ${var.name} crashed, timed out or could not start; its log group says why. Mail is safe in the queue."
  namespace           = "AWS/Lambda"
  metric_name         = "Errors"
  dimensions          = { FunctionName = aws_lambda_function.ion.function_name }
  statistic           = "Sum"
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  period              = 300
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.notifications
  ok_actions          = local.notifications
  tags                = var.tags
}

# Throttled wake-ups are how reserved concurrency works, so only an hour without a break means something.
resource "aws_cloudwatch_metric_alarm" "throttles" {
  alarm_name          = "${var.name}-throttles-alarm"
  alarm_description   = "The function ${var.name} has been called while busy for an hour without a break: raise reserved_concurrency if mail is late."
  namespace           = "AWS/Lambda"
  metric_name         = "Throttles"
  dimensions          = { FunctionName = aws_lambda_function.ion.function_name }
  statistic           = "Sum"
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  period              = 300
  evaluation_periods  = 12
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.notifications
  ok_actions          = local.notifications
  tags                = var.tags
}
