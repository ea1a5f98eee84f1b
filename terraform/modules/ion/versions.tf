terraform {
  required_version = ">= 1.6"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # 5.100 is the oldest that ion is tested with; 5.75 and older do not know the runtime python3.13.
      version = ">= 5.100, < 7.0"
    }
  }
}
