resource "google_pubsub_topic" "topics" {
  for_each   = local.cloud.topics
  project    = var.project
  name       = each.key
  depends_on = [google_project_service.apis]
}

resource "google_pubsub_subscription" "pushes" {
  for_each             = local.cloud.subscriptions
  project              = var.project
  name                 = each.key
  topic                = google_pubsub_topic.topics[each.value.topic].id
  ack_deadline_seconds = local.cloud.delivery.ack_deadline_seconds
  # bury-run has no dead letters of its own: it tries for as long as Pub/Sub keeps a message, which is 31 days.
  message_retention_duration = "${local.cloud.delivery.retention_seconds}s"

  push_config {
    push_endpoint = local.urls[each.value.function]

    oidc_token {
      service_account_email = google_service_account.invoker.email
      audience              = local.audience
    }
  }

  # Without this block Pub/Sub deletes a subscription that was idle for 31 days.
  expiration_policy {
    ttl = ""
  }

  # Without this block Pub/Sub delivers a failed message again at once.
  retry_policy {
    minimum_backoff = "${local.cloud.delivery.min_backoff_seconds}s"
    maximum_backoff = "${local.cloud.delivery.max_backoff_seconds}s"
  }

  dynamic "dead_letter_policy" {
    for_each = each.value.dead_letter_topic == null ? [] : [each.value.dead_letter_topic]
    content {
      dead_letter_topic     = google_pubsub_topic.topics[dead_letter_policy.value].id
      max_delivery_attempts = local.cloud.delivery.max_deliveries
    }
  }

  depends_on = [google_cloudfunctions2_function.functions]
}

# Pub/Sub moves dead letters with an account of its own, and without these two roles it moves none.
# https://cloud.google.com/pubsub/docs/dead-letter-topics#grant_forwarding_permissions
resource "google_pubsub_topic_iam_member" "dead_letters" {
  for_each = toset([for subscription in values(local.cloud.subscriptions) : subscription.dead_letter_topic if subscription.dead_letter_topic != null])
  project  = var.project
  topic    = google_pubsub_topic.topics[each.value].name
  role     = "roles/pubsub.publisher"
  member   = local.pubsub_agent
}

resource "google_pubsub_subscription_iam_member" "dead_letters" {
  for_each     = { for name, subscription in local.cloud.subscriptions : name => subscription if subscription.dead_letter_topic != null }
  project      = var.project
  subscription = google_pubsub_subscription.pushes[each.key].name
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_agent
}

# Pub/Sub signs its pushes with tokens of the invoker.
resource "google_service_account_iam_member" "pubsub_signs_as_invoker" {
  service_account_id = google_service_account.invoker.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = local.pubsub_agent
  depends_on         = [google_pubsub_topic.topics]
}
