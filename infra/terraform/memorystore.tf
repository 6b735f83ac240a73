data "google_compute_network" "memorystore" {
  count   = var.memorystore ? 1 : 0
  project = var.project
  name    = var.network
}

resource "google_redis_instance" "results" {
  count              = var.memorystore ? 1 : 0
  project            = var.project
  region             = var.region
  name               = "llm-runs-results"
  tier               = "BASIC"
  memory_size_gb     = 1
  redis_version      = "REDIS_7_2"
  auth_enabled       = true
  authorized_network = data.google_compute_network.memorystore[0].id

  # Results are in Firestore too. A full cache forgets the least recently used ones.
  redis_configs = {
    maxmemory-policy = "allkeys-lru"
  }

  depends_on = [google_project_service.apis]
}

resource "google_vpc_access_connector" "memorystore" {
  count         = var.memorystore ? 1 : 0
  project       = var.project
  region        = var.region
  name          = "llm-runs"
  network       = data.google_compute_network.memorystore[0].name
  ip_cidr_range = "10.8.0.0/28"
  min_instances = 2
  max_instances = 3
  machine_type  = "e2-micro"
  depends_on    = [google_project_service.apis]
}

resource "google_secret_manager_secret" "memorystore_url" {
  count     = var.memorystore ? 1 : 0
  project   = var.project
  secret_id = "REDIS_URL"

  replication {
    auto {}
  }

  depends_on = [google_project_service.apis]
}

resource "google_secret_manager_secret_version" "memorystore_url" {
  count                  = var.memorystore ? 1 : 0
  secret                 = google_secret_manager_secret.memorystore_url[0].id
  secret_data_wo         = "redis://:${google_redis_instance.results[0].auth_string}@${google_redis_instance.results[0].host}:${google_redis_instance.results[0].port}/0"
  secret_data_wo_version = 1
}

resource "google_secret_manager_secret_iam_member" "memorystore_url" {
  for_each  = { for name, function in local.functions : name => function if function.caches && var.memorystore }
  project   = var.project
  secret_id = google_secret_manager_secret.memorystore_url[0].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.functions[each.key].member
}
