# The ledger: one item a mail, and one for the breaker.

resource "aws_dynamodb_table" "ledger" {
  #checkov:skip=CKV_AWS_119: DynamoDB encrypts every table with a key of its own at no cost; whoever must hold the key adds a customer key here, and the role's right to use it in iam.tf.
  name         = "${var.name}-ledger"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "id"
  tags         = var.tags

  attribute {
    name = "id"
    type = "S"
  }

  attribute {
    name = "status"
    type = "S"
  }

  attribute {
    name = "updated"
    type = "N"
  }

  # For people and tools: what is deferred, what failed since yesterday. Recent 6.x versions of the provider would have
  # hash_key and range_key written as key_schema, which 5.x does not know; they warn and do the same.
  global_secondary_index {
    name            = "status-updated"
    hash_key        = "status"
    range_key       = "updated"
    projection_type = "KEYS_ONLY"
  }

  ttl {
    attribute_name = "expires"
    enabled        = true
  }

  point_in_time_recovery {
    enabled = true
  }
}
