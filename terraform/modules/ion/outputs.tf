output "topic_arn" {
  description = "Publish here."
  value       = aws_sns_topic.input.arn
}

output "input_queue_url" {
  description = "The queue of mail to be sent."
  value       = aws_sqs_queue.input.url
}

output "deadletter_queue_url" {
  description = "The queue of mail that could not be sent."
  value       = aws_sqs_queue.deadletter.url
}

output "function_name" {
  description = "The Lambda function."
  value       = aws_lambda_function.ion.function_name
}

output "artifact_sha256" {
  description = "SHA-256 of the deployed zip, in base64 as Lambda shows it."
  value       = aws_lambda_function.ion.source_code_hash
}

output "table_name" {
  description = "The ledger's DynamoDB table."
  value       = aws_dynamodb_table.ledger.name
}

output "secret_id" {
  description = "The secret to fill with the SMTP login."
  value       = aws_secretsmanager_secret.smtp.name
}

output "log_group_name" {
  description = "The function's log."
  value       = aws_cloudwatch_log_group.function.name
}

output "region" {
  description = "Where all this is."
  value       = local.region
}

output "dashboard_url" {
  description = "The dashboard in the AWS console."
  value       = "https://${local.region}.console.aws.amazon.com/cloudwatch/home?region=${local.region}#dashboards/dashboard/${aws_cloudwatch_dashboard.ion.dashboard_name}"
}

output "publish_command" {
  description = "Sends a first mail; put your own address in."
  value       = "aws sns publish --region ${local.region} --topic-arn ${aws_sns_topic.input.arn} --message '{\"action\": \"send\", \"recipient\": \"you@example.com\", \"subject\": \"Hello\", \"body_text\": \"Sent by ion.\"}'"
}
