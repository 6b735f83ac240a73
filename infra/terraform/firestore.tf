resource "google_firestore_database" "runs" {
  project                           = var.project
  name                              = var.firestore_database
  location_id                       = var.firestore_location != "" ? var.firestore_location : var.region
  type                              = "FIRESTORE_NATIVE"
  concurrency_mode                  = "PESSIMISTIC"
  app_engine_integration_mode       = "DISABLED"
  point_in_time_recovery_enablement = "POINT_IN_TIME_RECOVERY_ENABLED"
  delete_protection_state           = "DELETE_PROTECTION_ENABLED"
  # `terraform destroy` leaves the database alone.
  deletion_policy = "ABANDON"
  depends_on      = [google_project_service.apis]

  lifecycle {
    prevent_destroy = true
  }
}

resource "google_firestore_backup_schedule" "daily" {
  project   = var.project
  database  = google_firestore_database.runs.name
  retention = "${local.cloud.firestore.backup_days * 86400}s"

  daily_recurrence {}
}

resource "google_firestore_index" "queries" {
  for_each = {
    for index in local.firestore.indexes :
    join("-", concat([index.collectionGroup], [for field in index.fields : "${field.fieldPath}-${lower(field.order)}"])) => index
  }
  project     = var.project
  database    = google_firestore_database.runs.name
  collection  = each.value.collectionGroup
  query_scope = each.value.queryScope

  dynamic "fields" {
    for_each = each.value.fields
    content {
      field_path = fields.value.fieldPath
      order      = fields.value.order
    }
  }
}

# Fields without an index of their own cost no index writes, and rising times do not cap a collection at 500 writes a
# second. https://firebase.google.com/docs/firestore/best-practices
resource "google_firestore_field" "exemptions" {
  for_each   = { for field in local.firestore.fieldOverrides : "${field.collectionGroup}-${field.fieldPath}" => field }
  project    = var.project
  database   = google_firestore_database.runs.name
  collection = each.value.collectionGroup
  field      = each.value.fieldPath

  index_config {}

  dynamic "ttl_config" {
    for_each = try(each.value.ttl, false) ? [1] : []
    content {}
  }
}

resource "google_firebaserules_ruleset" "firestore" {
  project = var.project

  source {
    files {
      name    = "firestore.rules"
      content = file("${path.module}/../firestore.rules")
    }
  }

  depends_on = [google_firestore_database.runs]

  lifecycle {
    # The release must point to a ruleset at every moment.
    create_before_destroy = true
  }
}

resource "google_firebaserules_release" "firestore" {
  project      = var.project
  name         = var.firestore_database == "(default)" ? "cloud.firestore" : "cloud.firestore/${var.firestore_database}"
  ruleset_name = "projects/${var.project}/rulesets/${google_firebaserules_ruleset.firestore.name}"
}
