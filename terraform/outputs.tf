output "topic_arn" {
  description = "Publish here."
  value       = module.ion.topic_arn
}

output "input_queue_url" {
  description = "The queue of mail to be sent."
  value       = module.ion.input_queue_url
}

output "deadletter_queue_url" {
  description = "The queue of mail that could not be sent."
  value       = module.ion.deadletter_queue_url
}

output "function_name" {
  description = "The Lambda function."
  value       = module.ion.function_name
}

output "artifact_sha256" {
  description = "SHA-256 of the deployed zip, in base64 as Lambda shows it."
  value       = module.ion.artifact_sha256
}

output "table_name" {
  description = "The ledger's DynamoDB table."
  value       = module.ion.table_name
}

output "secret_id" {
  description = "The secret to fill with the SMTP login."
  value       = module.ion.secret_id
}

output "log_group_name" {
  description = "The function's log."
  value       = module.ion.log_group_name
}

output "region" {
  description = "Where all this is."
  value       = module.ion.region
}

output "dashboard_url" {
  description = "The dashboard in the AWS console."
  value       = module.ion.dashboard_url
}

output "publish_command" {
  description = "Sends a first mail; put your own address in."
  value       = module.ion.publish_command
}
