# The function, its log, and who may call it.

locals {
  artifact = coalesce(var.artifact, "${path.module}/../../../dist/ion.zip")

  # Of ion/config.cfg, what has no variable of its own and is not the login.
  settable = [
    "smtp.ca",
    "smtp.hostname",
    "smtp.max_connections",
    "smtp.max_messages_per_connection",
    "smtp.connect_timeout_seconds",
    "smtp.command_timeout_seconds",
    "smtp.data_timeout_seconds",
    "smtp.transaction_timeout_seconds",
    "ledger.ttl_days",
    "retry.base_seconds",
    "retry.cap_seconds",
    "retry.max_attempts",
    "drain.deadline_margin_seconds",
    "telemetry.namespace",
    "telemetry.mask_addresses",
    "telemetry.level",
  ]
  unsettable = setsubtract(keys(var.settings), local.settable)

  # "retry.max_attempts" becomes ION_RETRY_MAX_ATTEMPTS, as ion/settings.py reads it.
  settings = { for key, value in var.settings : "ION_${upper(replace(key, ".", "_"))}" => value }
}

resource "aws_lambda_function" "ion" {
  #checkov:skip=CKV_AWS_50: ion writes its own metrics and a line for every mail; tracing would cost by the wake-up and show no more.
  #checkov:skip=CKV_AWS_116: What calls the function is a call to wake up and carries nothing that could be lost; the mail waits in the queue, which has a dead-letter queue.
  #checkov:skip=CKV_AWS_117: ion talks to AWS and to a public SMTP server; a VPC would add a NAT gateway and its cost, and keep nobody out.
  #checkov:skip=CKV_AWS_173: The environment holds no secret (the login is in Secrets Manager) and is encrypted with AWS's own key.
  #checkov:skip=CKV_AWS_272: The very zip that the scenarios have run is told by its SHA-256, which `make deploy` checks; a signing profile needs a signer to be set up first.
  function_name = var.name
  description   = "Drains ${local.input_queue} over SMTP"
  role          = aws_iam_role.function.arn
  tags          = var.tags

  filename = local.artifact
  # Without the zip the precondition below speaks, not this function.
  source_code_hash = fileexists(local.artifact) ? filebase64sha256(local.artifact) : null
  handler          = "ion.handler.run"
  runtime          = var.runtime
  architectures    = [var.architecture]

  memory_size                    = var.memory_mb
  timeout                        = var.timeout_seconds
  reserved_concurrent_executions = var.reserved_concurrency

  environment {
    variables = merge(local.settings, {
      ION_SMTP_SERVER                      = var.smtp_server
      ION_SMTP_PORT                        = var.smtp_port
      ION_SMTP_TLS                         = var.smtp_tls
      ION_SMTP_SENDER                      = var.smtp_sender
      ION_SMTP_SECRET_ID                   = aws_secretsmanager_secret.smtp.arn
      ION_QUEUE_INPUT                      = aws_sqs_queue.input.name
      ION_QUEUE_DEADLETTER                 = aws_sqs_queue.deadletter.name
      ION_QUEUE_VISIBILITY_TIMEOUT_SECONDS = var.visibility_timeout_seconds
      ION_LEDGER_TABLE                     = aws_dynamodb_table.ledger.name
      ION_ALARM_NAME                       = local.wakeup_alarm
    })
  }

  # Lambda would otherwise create the log group itself, without an end to what it keeps; and a first wake-up without
  # the role's policy would fail.
  depends_on = [aws_cloudwatch_log_group.function, aws_iam_role_policy.function]

  lifecycle {
    precondition {
      condition     = length(local.unsettable) == 0
      error_message = "settings: there is no ${join(", ", local.unsettable)} to set here. There are ${join(", ", local.settable)}; the rest of ion/config.cfg has variables of its own, and the login belongs in the secret."
    }

    precondition {
      condition     = fileexists(local.artifact)
      error_message = "There is no ${local.artifact}. `make artifact` builds dist/ion.zip; or name another zip with -var artifact=PATH."
    }
  }
}

# AWS's own defaults, written down: a wake-up that failed is tried twice more, one that found ion busy for six hours.
resource "aws_lambda_function_event_invoke_config" "ion" {
  function_name                = aws_lambda_function.ion.function_name
  maximum_retry_attempts       = 2
  maximum_event_age_in_seconds = 21600
}

resource "aws_cloudwatch_log_group" "function" {
  #checkov:skip=CKV_AWS_158: Encrypted with AWS's own key; addresses are masked in the log unless telemetry.mask_addresses says otherwise.
  #checkov:skip=CKV_AWS_338: The ledger is the record of mails; a log about people's mail is not kept for a year without need. log_retention_days can say otherwise.
  name              = "/aws/lambda/${var.name}"
  retention_in_days = var.log_retention_days
  tags              = var.tags
}

resource "aws_lambda_permission" "input_topic" {
  statement_id  = "InputTopic"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.ion.function_name
  principal     = "sns.amazonaws.com"
  source_arn    = aws_sns_topic.input.arn
}

resource "aws_lambda_permission" "wakeup_topic" {
  statement_id  = "WakeupTopic"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.ion.function_name
  principal     = "sns.amazonaws.com"
  source_arn    = aws_sns_topic.wakeup.arn
}
