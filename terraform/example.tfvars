# Copy to terraform.tfvars (git ignores it) and fill in; everything else has a default, see variables.tf.

smtp_server         = "smtp.example.com"
smtp_sender         = "noreply@example.com"
notification_emails = ["oncall@example.com"]
tags                = { application = "ion" }
