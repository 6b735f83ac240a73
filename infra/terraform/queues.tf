resource "google_cloud_tasks_queue" "queues" {
  for_each = local.cloud.queues
  project  = var.project
  name     = each.key
  location = var.region

  rate_limits {
    max_dispatches_per_second = each.value.max_dispatches_per_second
    max_concurrent_dispatches = each.value.max_concurrent_dispatches
  }

  # Cloud Tasks deletes a task without a trace when it has exhausted both limits. The time is that of the longest
  # deadline of a run, so that no task is lost before its run ends.
  retry_config {
    max_attempts       = local.cloud.queue_retry.max_attempts
    max_retry_duration = "${local.cloud.queue_retry.max_retry_seconds}s"
    min_backoff        = "${local.cloud.queue_retry.min_backoff_seconds}s"
    max_backoff        = "${local.cloud.queue_retry.max_backoff_seconds}s"
    max_doublings      = local.cloud.queue_retry.max_doublings
  }

  # Every failed dispatch is in the log; a sample of the others costs little.
  stackdriver_logging_config {
    sampling_ratio = 0.1
  }

  depends_on = [google_project_service.apis]
}

resource "google_cloud_scheduler_job" "sweep" {
  project          = var.project
  region           = var.region
  name             = local.cloud.sweep.name
  description      = "Calls the sweeper, which continues runs whose messages or tasks were lost."
  schedule         = local.cloud.sweep.schedule
  time_zone        = "Etc/UTC"
  attempt_deadline = "${local.cloud.sweep.attempt_seconds}s"

  # The next minute is the next try.
  retry_config {
    retry_count = 0
  }

  http_target {
    uri         = local.urls["sweep_runs"]
    http_method = "POST"

    oidc_token {
      service_account_email = google_service_account.invoker.email
      audience              = local.audience
    }
  }

  depends_on = [google_cloudfunctions2_function.functions]
}
