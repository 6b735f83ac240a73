output "url" {
  description = "Where clients reach the API: the domain, the Hosting site, or with front = \"plain\" the function read_runs."
  value       = var.front == "domain" ? "https://${var.domain}" : var.front == "hosting" ? "https://${local.site}.web.app" : local.urls["read_runs"]
}

output "submit_url" {
  description = "Where clients submit runs: the same as url, but with front = \"plain\" the function submit_run."
  value       = var.front == "domain" ? "https://${var.domain}" : var.front == "hosting" ? "https://${local.site}.web.app" : local.urls["submit_run"]
}

output "project" {
  description = "The Google Cloud project."
  value       = var.project
}

output "functions" {
  description = "{function: its own URL}. With front = \"plain\", infra/routes.json says which paths go to which."
  value       = local.urls
}

output "address" {
  description = "Address that the domain's A record must have; null without a domain."
  value       = one(google_compute_global_address.front[*].address)
}

output "firestore" {
  description = "Where runs, users, organizations and models are: data in the database, and this page to see them."
  value       = "https://console.cloud.google.com/firestore/databases/${var.firestore_database == "(default)" ? "-default-" : var.firestore_database}/data?project=${var.project}"
}

output "dashboard" {
  description = "Page with the dashboards."
  value       = "https://console.cloud.google.com/monitoring/dashboards?project=${var.project}"
}

output "logs" {
  description = "Page with the log of all functions."
  value       = "https://console.cloud.google.com/logs/query;query=${urlencode("resource.type=\"cloud_run_revision\" jsonPayload.message:*")}?project=${var.project}"
}

output "invoker" {
  description = "The account as which Pub/Sub, Cloud Tasks and Cloud Scheduler call the internal functions."
  value       = google_service_account.invoker.email
}

output "accounts" {
  description = "{function: its service account}"
  value       = { for name, account in google_service_account.functions : name => account.email }
}

output "secrets_to_fill" {
  description = "Secrets that no function reads yet, because terraform.tfvars gives no version."
  value       = [for name, version in var.secrets : name if version == ""]
}
