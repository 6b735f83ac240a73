locals {
  audience = local.urls["recheck_run"]

  # Pages of the project's site on Firebase Hosting may call the functions' own URLs.
  site    = var.hosting_site != "" ? var.hosting_site : var.project
  origins = distinct(concat(["https://${local.site}.web.app", "https://${local.site}.firebaseapp.com"], var.domain != "" ? ["https://${var.domain}"] : [], var.allowed_origins))

  # {setting: name of the topic or queue}
  names = { for name, item in merge(local.cloud.topics, local.cloud.queues) : item.setting => name if item.setting != null }

  # Every function reads and checks all settings when it starts.
  environment = merge(var.settings, local.names, {
    BACKEND                 = "gcp"
    GOOGLE_CLOUD_PROJECT    = var.project
    FIRESTORE_DATABASE      = var.firestore_database
    TASKS_LOCATION          = var.region
    RECHECK_URL             = local.urls["recheck_run"]
    DELIVER_WEBHOOK_URL     = local.urls["deliver_webhook"]
    INTERNAL_AUDIENCE       = local.audience
    INVOKER_SERVICE_ACCOUNT = google_service_account.invoker.email
    LLM_DEPLOYMENTS         = jsonencode(var.llm_deployments)
    ALLOWED_ORIGINS         = join(",", local.origins)
    STREAMS_URL             = var.front == "hosting" ? local.urls["read_runs"] : ""
    SWEEP_SECONDS           = "60"
  })

  # {function: {environment variable: version of its secret}}
  mounted = { for name, function in local.functions : name => merge(
    function.calls_llm ? { for key, version in var.secrets : key => version if key != "REDIS_URL" && version != "" } : {},
    function.caches ? { for key, version in var.secrets : key => version if key == "REDIS_URL" && version != "" } : {},
    function.caches && var.memorystore ? { REDIS_URL = google_secret_manager_secret_version.memorystore_url[0].version } : {},
  ) }
}

resource "google_storage_bucket" "source" {
  project                     = var.project
  name                        = "${var.project}-llm-runs-source"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true
  depends_on                  = [google_project_service.apis]
}

# The name contains the content's hash, so that every change of the source is a new deployment.
resource "google_storage_bucket_object" "source" {
  bucket = google_storage_bucket.source.name
  name   = basename(var.package)
  source = var.package
}

resource "google_cloudfunctions2_function" "functions" {
  for_each    = local.functions
  project     = var.project
  location    = var.region
  name        = each.key
  description = "LLM Runs: ${each.key}"

  build_config {
    runtime         = local.cloud.runtime
    entry_point     = each.key
    service_account = google_service_account.build.id

    # The build compiles the source, and then all files get the same time, so that Python would take the bytecode for
    # outdated and compile anew at each cold start. With this variable the bytecode names a hash instead of a time.
    # https://github.com/GoogleCloudPlatform/buildpacks/blob/main/cmd/python/functions_framework/lib/lib.go
    # https://github.com/heroku/heroku-buildpack-python/pull/1322
    # https://docs.python.org/3/library/py_compile.html#py_compile.PycInvalidationMode
    environment_variables = { SOURCE_DATE_EPOCH = local.cloud.source_date_epoch }

    source {
      storage_source {
        bucket = google_storage_bucket.source.name
        object = google_storage_bucket_object.source.name
      }
    }

    # Google installs security updates of the base image without a new deployment.
    automatic_update_policy {}
  }

  service_config {
    service_account_email            = google_service_account.functions[each.key].email
    available_cpu                    = each.value.cpu
    available_memory                 = each.value.memory
    max_instance_request_concurrency = each.value.concurrency
    min_instance_count               = lookup(var.min_instances, each.key, 0)
    max_instance_count               = each.value.max_instances
    timeout_seconds                  = each.value.timeout_seconds
    all_traffic_on_latest_revision   = true
    ingress_settings                 = !each.value.public ? "ALLOW_INTERNAL_ONLY" : var.front == "domain" ? "ALLOW_INTERNAL_AND_GCLB" : "ALLOW_ALL"
    environment_variables            = { for name, value in local.environment : name => value if value != "" }
    vpc_connector                    = var.memorystore && each.value.caches ? google_vpc_access_connector.memorystore[0].id : null
    vpc_connector_egress_settings    = var.memorystore && each.value.caches ? "PRIVATE_RANGES_ONLY" : null

    dynamic "secret_environment_variables" {
      for_each = local.mounted[each.key]
      content {
        key        = secret_environment_variables.key
        project_id = var.project
        secret     = secret_environment_variables.key
        version    = secret_environment_variables.value
      }
    }
  }

  depends_on = [
    google_project_iam_member.build,
    google_project_iam_member.firestore,
    google_secret_manager_secret_iam_member.readers,
    google_secret_manager_secret_iam_member.memorystore_url,
  ]
}

# Cloud Run's own check would remove the signature of the caller's token, and the functions check tokens themselves: the
# public ones those of users, the internal ones those of the invoker. See infra/README.md, "In the cloud".
resource "google_cloud_run_service_iam_member" "tokens_are_checked_by_the_function" {
  for_each = google_cloudfunctions2_function.functions
  project  = var.project
  location = var.region
  service  = local.services[each.key]
  role     = "roles/run.invoker"
  member   = "allUsers"
}
