# One page to look at: what waits, what was sent, and how the function does.

locals {
  # ion writes its own metrics here, by its log (EMF); see ion/telemetry.py.
  namespace = lookup(var.settings, "telemetry.namespace", "ion")

  # Rows of three widgets; each is a title, and its metrics as CloudWatch writes them.
  widgets = [
    {
      title = "Mail waiting"
      metrics = [
        ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", local.input_queue, { label = "visible", stat = "Maximum" }],
        ["AWS/SQS", "ApproximateNumberOfMessagesNotVisible", "QueueName", local.input_queue, { label = "in work or put off", stat = "Maximum" }],
      ]
    },
    {
      title   = "Age of the oldest mail (s)"
      metrics = [["AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", local.input_queue, { label = "age", stat = "Maximum" }]]
    },
    {
      title   = "Dead letters"
      metrics = [["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", local.deadletter_queue, { label = "dead letters", stat = "Maximum" }]]
    },
    {
      title = "Outcomes"
      metrics = [
        for metric in ["Delivered", "Deferred", "DeadLettered", "Ambiguous"] :
        [local.namespace, metric, "service", "ion", { label = metric, stat = "Sum" }]
      ]
    },
    {
      title = "From publishing to delivery (ms)"
      metrics = [
        [local.namespace, "DeliveryLatency", "service", "ion", { label = "half within", stat = "p50" }],
        [local.namespace, "DeliveryLatency", "service", "ion", { label = "95 % within", stat = "p95" }],
      ]
    },
    {
      title   = "SMTP server unavailable"
      metrics = [[local.namespace, "Unavailable", "service", "ion", { label = "drains stopped by it", stat = "Sum" }]]
    },
    {
      title = "Published and received"
      metrics = [
        ["AWS/SNS", "NumberOfMessagesPublished", "TopicName", "${var.name}-input-topic", { label = "published", stat = "Sum" }],
        ["AWS/SQS", "NumberOfMessagesReceived", "QueueName", local.input_queue, { label = "received", stat = "Sum" }],
        ["AWS/SQS", "NumberOfMessagesDeleted", "QueueName", local.input_queue, { label = "done", stat = "Sum" }],
      ]
    },
    {
      title = "Function"
      metrics = [
        ["AWS/Lambda", "Invocations", "FunctionName", var.name, { label = "wake-ups", stat = "Sum" }],
        ["AWS/Lambda", "Errors", "FunctionName", var.name, { label = "errors", stat = "Sum" }],
        ["AWS/Lambda", "Throttles", "FunctionName", var.name, { label = "called while busy", stat = "Sum" }],
      ]
    },
    {
      title = "Duration of a drain (ms)"
      metrics = [
        ["AWS/Lambda", "Duration", "FunctionName", var.name, { label = "average", stat = "Average" }],
        ["AWS/Lambda", "Duration", "FunctionName", var.name, { label = "longest", stat = "Maximum" }],
      ]
    },
  ]
}

resource "aws_cloudwatch_dashboard" "ion" {
  dashboard_name = var.name

  dashboard_body = jsonencode({
    widgets = [
      for index, widget in local.widgets : {
        type   = "metric"
        x      = index % 3 * 8
        y      = floor(index / 3) * 6
        width  = 8
        height = 6
        properties = {
          title   = widget.title
          region  = local.region
          view    = "timeSeries"
          period  = 60
          metrics = widget.metrics
        }
      }
    ]
  })
}
