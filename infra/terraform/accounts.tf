resource "google_service_account" "functions" {
  for_each     = local.services
  project      = var.project
  account_id   = "llm-${each.value}"
  display_name = "LLM Runs: the function ${each.key}"
  depends_on   = [google_project_service.apis]
}

resource "google_service_account" "invoker" {
  project      = var.project
  account_id   = local.cloud.accounts.invoker
  display_name = "LLM Runs: Pub/Sub, Cloud Tasks and Cloud Scheduler call the internal functions as this account"
  depends_on   = [google_project_service.apis]
}

resource "google_service_account" "build" {
  project      = var.project
  account_id   = local.cloud.accounts.build
  display_name = "LLM Runs: Cloud Build builds the functions as this account"
  depends_on   = [google_project_service.apis]
}

resource "google_project_iam_member" "build" {
  for_each = toset(local.cloud.build_roles)
  project  = var.project
  role     = each.value
  member   = google_service_account.build.member
}

# Firestore has no roles below the database.
resource "google_project_iam_member" "firestore" {
  for_each = google_service_account.functions
  project  = var.project
  role     = "roles/datastore.user"
  member   = each.value.member
}

resource "google_project_iam_member" "traces" {
  for_each = { for name, service in local.services : name => service if local.exports_traces }
  project  = var.project
  role     = local.cloud.traces.role
  member   = google_service_account.functions[each.key].member
}

# The predefined role with these two permissions may also delete every user.
resource "google_project_iam_custom_role" "sessions" {
  project     = var.project
  role_id     = local.cloud.session_role.id
  title       = local.cloud.session_role.title
  permissions = local.cloud.session_role.permissions
  depends_on  = [google_project_service.apis]
}

resource "google_project_iam_member" "sessions" {
  for_each = { for name, function in local.functions : name => function if function.sessions }
  project  = var.project
  role     = google_project_iam_custom_role.sessions.id
  member   = google_service_account.functions[each.key].member
}

resource "google_pubsub_topic_iam_member" "publishers" {
  for_each = { for pair in setproduct([for name, function in local.functions : name if function.publishes], [for name, topic in local.cloud.topics : name if topic.setting != null]) : "${pair[0]}-${pair[1]}" => pair }
  project  = var.project
  topic    = google_pubsub_topic.topics[each.value[1]].name
  role     = "roles/pubsub.publisher"
  member   = google_service_account.functions[each.value[0]].member
}

resource "google_cloud_tasks_queue_iam_member" "schedulers" {
  for_each = { for pair in setproduct(keys(local.functions), keys(local.cloud.queues)) : "${pair[0]}-${pair[1]}" => pair if local.functions[pair[0]][local.cloud.queues[pair[1]].right] }
  project  = var.project
  location = var.region
  name     = google_cloud_tasks_queue.queues[each.value[1]].name
  role     = "roles/cloudtasks.enqueuer"
  member   = google_service_account.functions[each.value[0]].member
}

# A function that creates a task lets it call recheck_run or deliver_webhook as the invoker.
resource "google_service_account_iam_member" "schedulers_act_as_invoker" {
  for_each           = { for name, function in local.functions : name => function if function.schedules || function.notifies }
  service_account_id = google_service_account.invoker.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.functions[each.key].member
}
