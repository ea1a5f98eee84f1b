# The SMTP login. Created empty; its value is put in by hand (docs/deploy.md), so that no Terraform state ever holds it.

resource "aws_secretsmanager_secret" "smtp" {
  #checkov:skip=CKV_AWS_149: Encrypted with AWS's own key for Secrets Manager, which keeps other accounts out; nobody else is to read it.
  #checkov:skip=CKV2_AWS_57: Nobody but the SMTP provider can rotate this login; docs/deploy.md says how it is done without losing a mail.
  name        = "${var.name}-smtp"
  description = "SMTP login of ${var.name}: JSON with username and password, and if wanted server, port and ca"
  tags        = var.tags

  # The login's original is with the SMTP provider; a secret kept for days would only stand in a new deployment's way.
  recovery_window_in_days = 0
}
