# Terraform makes the secrets and says which function may read which. Their values never pass through Terraform: operators
# add them with `gcloud secrets versions add`.
resource "google_secret_manager_secret" "secrets" {
  for_each  = toset(keys(var.secrets))
  project   = var.project
  secret_id = each.value

  replication {
    auto {}
  }

  depends_on = [google_project_service.apis]
}

resource "google_secret_manager_secret_iam_member" "readers" {
  for_each = { for pair in setproduct(keys(local.functions), keys(var.secrets)) : "${pair[0]}-${pair[1]}" => pair
  if pair[1] == "REDIS_URL" ? local.functions[pair[0]].caches : local.functions[pair[0]].calls_llm }
  project   = var.project
  secret_id = google_secret_manager_secret.secrets[each.value[1]].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.functions[each.value[0]].member
}
