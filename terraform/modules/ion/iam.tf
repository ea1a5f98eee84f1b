# What ion may do: what it calls, on what it calls it, and nothing else. A test compares this with a run, both ways.

resource "aws_iam_role" "function" {
  # Roles belong to the whole account, so the region keeps two deployments apart.
  name        = "${var.name}-${local.region}"
  description = "The Lambda function ${var.name}"
  tags        = var.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "function" {
  name = var.name
  role = aws_iam_role.function.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "InputQueue"
        Effect = "Allow"
        Action = [
          "sqs:ChangeMessageVisibility",
          "sqs:DeleteMessage",
          "sqs:GetQueueUrl",
          "sqs:ReceiveMessage",
          "sqs:SendMessage",
        ]
        Resource = aws_sqs_queue.input.arn
      },
      {
        Sid    = "DeadLetterQueue"
        Effect = "Allow"
        Action = [
          "sqs:ChangeMessageVisibility",
          "sqs:DeleteMessage",
          "sqs:GetQueueUrl",
          "sqs:ReceiveMessage",
          "sqs:SendMessage",
        ]
        Resource = aws_sqs_queue.deadletter.arn
      },
      {
        # The table, not its index: that is for people.
        Sid    = "Ledger"
        Effect = "Allow"
        Action = [
          "dynamodb:DeleteItem",
          "dynamodb:GetItem",
          "dynamodb:PutItem",
        ]
        Resource = aws_dynamodb_table.ledger.arn
      },
      {
        Sid      = "WakeupAlarm"
        Effect   = "Allow"
        Action   = "cloudwatch:SetAlarmState"
        Resource = aws_cloudwatch_metric_alarm.wakeup.arn
      },
      {
        Sid      = "SmtpLogin"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = aws_secretsmanager_secret.smtp.arn
      },
      {
        # Lambda writes the log in the function's name. The group exists, so creating groups is not among the rights.
        Sid      = "Log"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.function.arn}:*"
      },
    ]
  })
}
