# ion in one AWS account and region: those that your credentials and AWS_REGION name.

provider "aws" {}

module "ion" {
  source = "./modules/ion"

  smtp_server                      = var.smtp_server
  smtp_port                        = var.smtp_port
  smtp_tls                         = var.smtp_tls
  smtp_sender                      = var.smtp_sender
  settings                         = var.settings
  name                             = var.name
  tags                             = var.tags
  artifact                         = var.artifact
  architecture                     = var.architecture
  runtime                          = var.runtime
  memory_mb                        = var.memory_mb
  timeout_seconds                  = var.timeout_seconds
  reserved_concurrency             = var.reserved_concurrency
  visibility_timeout_seconds       = var.visibility_timeout_seconds
  max_receive_count                = var.max_receive_count
  input_retention_days             = var.input_retention_days
  deadletter_retention_days        = var.deadletter_retention_days
  log_retention_days               = var.log_retention_days
  wakeup_period_seconds            = var.wakeup_period_seconds
  notification_emails              = var.notification_emails
  backlog_threshold                = var.backlog_threshold
  oldest_message_threshold_seconds = var.oldest_message_threshold_seconds
}
