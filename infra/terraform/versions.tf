terraform {
  required_version = ">= 1.11"

  required_providers {
    google = {
      source = "hashicorp/google"
      # The version whose schema `make check-infra` compares these files with, and its later corrections.
      version = "~> 6.50"
    }
  }
}

provider "google" {
  project = var.project
  region  = var.region
  # Budgets and the Firebase APIs count calls against this project and not against that of the caller's credentials.
  user_project_override = true
  billing_project       = var.project
}
