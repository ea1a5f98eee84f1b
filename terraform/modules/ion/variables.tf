# terraform/variables.tf is a link to this file, so that the root and the module can never disagree.
# Where a default also stands in ion/config.cfg, a test holds the two equal.

variable "smtp_server" {
  description = "Host name of the SMTP server that ion hands mail to."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9.:-]+$", var.smtp_server))
    error_message = "smtp_server is a host name or an address, such as smtp.example.com; the port goes into smtp_port."
  }
}

variable "smtp_port" {
  description = "Port of the SMTP server: 587 as a rule, 465 with smtp_tls = implicit. (AWS blocks port 25.)"
  type        = number
  default     = 587
  nullable    = false

  validation {
    condition     = var.smtp_port >= 1 && var.smtp_port <= 65535 && floor(var.smtp_port) == var.smtp_port
    error_message = "smtp_port is a whole number from 1 to 65535."
  }
}

variable "smtp_tls" {
  description = "starttls, implicit (TLS from the first byte) or none."
  type        = string
  default     = "starttls"
  nullable    = false

  validation {
    condition     = contains(["starttls", "implicit", "none"], var.smtp_tls)
    error_message = "smtp_tls is starttls, implicit or none."
  }
}

variable "smtp_sender" {
  description = "Envelope and header sender of mails that name none. Empty: the SMTP username."
  type        = string
  default     = ""
  nullable    = false
}

variable "settings" {
  description = <<-TEXT
    Any other value of ion/config.cfg, as section.key = value: { "retry.max_attempts" = "5", "smtp.max_connections" = "20" }.
    The login is not among them: it belongs in the secret, which Terraform creates empty and never reads.
  TEXT
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition = alltrue([
      for key, value in var.settings : can(regex("^[0-9]+(\\.[0-9]+)?$", value)) if can(regex("(_seconds|_days|_attempts|_connections|_per_connection)$", key))
    ])
    error_message = "settings: seconds, days, attempts and connections are numbers, written with digits."
  }
}

variable "name" {
  description = "Begins the name of everything: ion makes ion-input-topic, ion-input-queue, ion-ledger and so on."
  type        = string
  default     = "ion"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,30}$", var.name))
    error_message = "name is 1 to 31 lower-case letters, digits and hyphens, and begins with a letter."
  }
}

variable "tags" {
  description = "Tags for everything that can bear them."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "artifact" {
  description = "Path of the zip to deploy. Default: dist/ion.zip of this project, as `make artifact` builds it."
  type        = string
  default     = null
}

variable "architecture" {
  description = "The function's processor: arm64 (cheaper) or x86_64. The zip is pure Python and runs on both."
  type        = string
  default     = "arm64"
  nullable    = false

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "architecture is arm64 or x86_64."
  }
}

variable "runtime" {
  description = "The function's Lambda runtime: Python 3.11 or newer; for 3.14 the AWS provider must be of version 6."
  type        = string
  default     = "python3.13"
  nullable    = false

  validation {
    condition     = contains(["python3.11", "python3.12", "python3.13", "python3.14"], var.runtime)
    error_message = "runtime is python3.11, python3.12, python3.13 or python3.14."
  }
}

variable "memory_mb" {
  description = "The function's memory in MB; Lambda gives processor time in proportion."
  type        = number
  default     = 512
  nullable    = false

  validation {
    condition     = var.memory_mb >= 128 && var.memory_mb <= 10240
    error_message = "memory_mb is 128 to 10240."
  }
}

variable "timeout_seconds" {
  description = <<-TEXT
    How long one drain may take. No more than visibility_timeout_seconds; and ion refuses to begin where it leaves no
    room for one send: connecting, the transaction and drain.deadline_margin_seconds, 60 s together by default.
  TEXT
  type        = number
  default     = 120
  nullable    = false

  validation {
    condition     = var.timeout_seconds >= 10 && var.timeout_seconds <= 900
    error_message = "timeout_seconds is 10 to 900 (Lambda's limit)."
  }
}

variable "reserved_concurrency" {
  description = <<-TEXT
    How many Lambdas may drain at once: the one variable to scale by. Each opens up to smtp.max_connections connections.
    0 stops ion; mail then waits in the queue. -1 reserves nothing, for accounts whose whole concurrency quota is too
    small to reserve from: a burst then starts as many Lambdas as the account has left.
  TEXT
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.reserved_concurrency >= -1 && floor(var.reserved_concurrency) == var.reserved_concurrency
    error_message = "reserved_concurrency is a whole number: 1 or more, 0 to stop ion, or -1 to reserve nothing."
  }
}

variable "visibility_timeout_seconds" {
  description = "How long a received message stays hidden; also the length of a lease in the ledger."
  type        = number
  default     = 120
  nullable    = false

  validation {
    condition     = var.visibility_timeout_seconds >= 10 && var.visibility_timeout_seconds <= 43200
    error_message = "visibility_timeout_seconds is 10 to 43200 (SQS's limit)."
  }
}

variable "max_receive_count" {
  description = <<-TEXT
    After so many receives SQS itself dead-letters a message. ion counts attempts in its ledger; this is the net for a
    message that kills the process, so keep it well above retry.max_attempts.
  TEXT
  type        = number
  default     = 50
  nullable    = false

  validation {
    condition     = var.max_receive_count >= 10 && var.max_receive_count <= 1000
    error_message = "max_receive_count is 10 to 1000."
  }
}

variable "input_retention_days" {
  description = "How long the input queue keeps a mail. Longer than the longest outage that you want to sit out."
  type        = number
  default     = 4
  nullable    = false

  validation {
    condition     = var.input_retention_days >= 1 && var.input_retention_days <= 13
    error_message = "input_retention_days is 1 to 13: the dead-letter queue must be able to keep messages longer."
  }
}

variable "deadletter_retention_days" {
  description = "How long the dead-letter queue keeps a mail, counted from its publishing. Longer than input_retention_days."
  type        = number
  default     = 14
  nullable    = false

  validation {
    condition     = var.deadletter_retention_days >= 2 && var.deadletter_retention_days <= 14
    error_message = "deadletter_retention_days is 2 to 14 (SQS's limit)."
  }
}

variable "log_retention_days" {
  description = "How long CloudWatch keeps the function's log; one of the values that CloudWatch Logs offers."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days is one of the values that CloudWatch Logs offers, such as 7, 30, 90 or 365."
  }
}

variable "wakeup_period_seconds" {
  description = "How often the alarm that wakes the function looks at the queue. SQS reports once a minute, so 60 in AWS."
  type        = number
  default     = 60
  nullable    = false

  validation {
    condition     = var.wakeup_period_seconds == 10 || var.wakeup_period_seconds == 30 || (var.wakeup_period_seconds >= 60 && var.wakeup_period_seconds % 60 == 0)
    error_message = "wakeup_period_seconds is 10, 30 or a multiple of 60, as CloudWatch has it."
  }
}

variable "notification_emails" {
  description = "Who hears of trouble. Each address gets a mail from AWS to confirm. Empty: the alarms only show their state."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for address in var.notification_emails : can(regex("^[^@\\s]+@[^@\\s]+$", address))])
    error_message = "notification_emails is a list of e-mail addresses."
  }
}

variable "backlog_threshold" {
  description = "So many mails waiting for 15 minutes raise the backlog alarm."
  type        = number
  default     = 1000
  nullable    = false

  validation {
    condition     = var.backlog_threshold >= 1
    error_message = "backlog_threshold is 1 or more."
  }
}

variable "oldest_message_threshold_seconds" {
  description = "A mail that has waited this long raises the age alarm."
  type        = number
  default     = 3600
  nullable    = false

  validation {
    condition     = var.oldest_message_threshold_seconds >= 60
    error_message = "oldest_message_threshold_seconds is 60 or more."
  }
}
