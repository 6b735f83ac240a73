# The names and numbers of everything here are in infra/cloud.json and infra/routes.json, which infra/gcloud.sh reads too.
locals {
  cloud     = jsondecode(file("${path.module}/../cloud.json"))
  routes    = jsondecode(file("${path.module}/../routes.json"))
  firestore = jsondecode(file("${path.module}/../firestore.indexes.json"))
  alarms    = jsondecode(file("${path.module}/../alarms.json"))

  functions = local.cloud.functions
  # Cloud Run names a function's service with hyphens, and gives it this URL whatever was deployed before. Pub/Sub,
  # Cloud Tasks and Cloud Scheduler reach a function with internal ingress under its run.app URL only.
  # https://cloud.google.com/run/docs/securing/ingress
  services = { for name in keys(local.functions) : name => replace(name, "_", "-") }
  urls     = { for name, service in local.services : name => "https://${service}-${data.google_project.this.number}.${var.region}.run.app" }

  exports_traces = contains([for name, value in var.settings : "${name}=${value}"], local.cloud.traces.setting)

  pubsub_agent = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

data "google_project" "this" {
  project_id = var.project
  depends_on = [google_project_service.apis]
}

resource "google_project_service" "apis" {
  for_each = toset(concat(
    local.cloud.apis,
    local.exports_traces ? local.cloud.traces.apis : [],
    var.front == "domain" ? ["compute.googleapis.com"] : [],
    var.memorystore ? ["compute.googleapis.com", "redis.googleapis.com", "vpcaccess.googleapis.com"] : [],
    var.billing_account != "" ? ["billingbudgets.googleapis.com"] : [],
  ))
  project = var.project
  service = each.value
  # Other systems of the project may use the API.
  disable_on_destroy = false
}
