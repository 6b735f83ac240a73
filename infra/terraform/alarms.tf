# infra/alarms.json has the metrics, alarms and the dashboard as Google's APIs take them, and infra/gcloud.sh sends it as
# it is.
resource "google_monitoring_notification_channel" "email" {
  project      = var.project
  display_name = "LLM Runs"
  type         = "email"
  labels       = { email_address = var.alert_email }
  depends_on   = [google_project_service.apis]
}

resource "google_logging_metric" "metrics" {
  for_each    = { for metric in local.alarms.metrics : metric.name => metric }
  project     = var.project
  name        = each.key
  description = each.value.description
  filter      = each.value.filter

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"
  }

  depends_on = [google_project_service.apis]
}

resource "google_monitoring_alert_policy" "alarms" {
  for_each              = { for policy in local.alarms.policies : policy.displayName => policy }
  project               = var.project
  display_name          = each.key
  severity              = each.value.severity
  combiner              = each.value.combiner
  notification_channels = [google_monitoring_notification_channel.email.name]

  documentation {
    content   = each.value.documentation.content
    mime_type = "text/markdown"
  }

  dynamic "conditions" {
    for_each = each.value.conditions
    content {
      display_name = conditions.value.displayName

      dynamic "condition_threshold" {
        for_each = try([conditions.value.conditionThreshold], [])
        content {
          filter             = condition_threshold.value.filter
          denominator_filter = try(condition_threshold.value.denominatorFilter, null)
          comparison         = condition_threshold.value.comparison
          threshold_value    = condition_threshold.value.thresholdValue
          duration           = condition_threshold.value.duration

          dynamic "aggregations" {
            for_each = condition_threshold.value.aggregations
            content {
              alignment_period     = aggregations.value.alignmentPeriod
              per_series_aligner   = aggregations.value.perSeriesAligner
              cross_series_reducer = aggregations.value.crossSeriesReducer
              group_by_fields      = aggregations.value.groupByFields
            }
          }

          dynamic "denominator_aggregations" {
            for_each = try(condition_threshold.value.denominatorAggregations, [])
            content {
              alignment_period     = denominator_aggregations.value.alignmentPeriod
              per_series_aligner   = denominator_aggregations.value.perSeriesAligner
              cross_series_reducer = denominator_aggregations.value.crossSeriesReducer
              group_by_fields      = denominator_aggregations.value.groupByFields
            }
          }
        }
      }

      dynamic "condition_absent" {
        for_each = try([conditions.value.conditionAbsent], [])
        content {
          filter   = condition_absent.value.filter
          duration = condition_absent.value.duration

          dynamic "aggregations" {
            for_each = condition_absent.value.aggregations
            content {
              alignment_period     = aggregations.value.alignmentPeriod
              per_series_aligner   = aggregations.value.perSeriesAligner
              cross_series_reducer = aggregations.value.crossSeriesReducer
              group_by_fields      = aggregations.value.groupByFields
            }
          }
        }
      }
    }
  }

  depends_on = [google_logging_metric.metrics, google_cloudfunctions2_function.functions, google_monitoring_uptime_check_config.health]
}

resource "google_monitoring_uptime_check_config" "health" {
  project      = var.project
  display_name = local.alarms.uptime.displayName
  timeout      = local.alarms.uptime.timeout
  period       = local.alarms.uptime.period

  http_check {
    path           = local.alarms.uptime.httpCheck.path
    port           = local.alarms.uptime.httpCheck.port
    request_method = "GET"
    use_ssl        = true
    validate_ssl   = true
  }

  monitored_resource {
    type = "uptime_url"
    labels = {
      project_id = var.project
      host       = var.front == "domain" ? var.domain : trimprefix(local.urls["read_runs"], "https://")
    }
  }

  depends_on = [google_project_service.apis]
}

resource "google_monitoring_dashboard" "runs" {
  project        = var.project
  dashboard_json = jsonencode(local.alarms.dashboard)
  depends_on     = [google_logging_metric.metrics]
}

resource "google_billing_budget" "month" {
  count           = var.billing_account != "" ? 1 : 0
  billing_account = var.billing_account
  display_name    = "LLM Runs: ${var.project}"

  budget_filter {
    projects = ["projects/${data.google_project.this.number}"]
  }

  amount {
    specified_amount {
      units = tostring(var.monthly_budget)
    }
  }

  dynamic "threshold_rules" {
    for_each = [0.5, 0.9, 1.0]
    content {
      threshold_percent = threshold_rules.value
    }
  }

  all_updates_rule {
    monitoring_notification_channels = [google_monitoring_notification_channel.email.id]
  }

  depends_on = [google_project_service.apis]
}
