# One origin for everything, with streams of up to an hour and cookies: a global load balancer before the public functions.
locals {
  behind_domain = var.front == "domain" ? toset([for name, function in local.functions : name if function.public]) : toset([])

  # Whole paths come first; they match with a slash at their end, too. Then the longest beginning of a path decides.
  longest_first = [for key in reverse(sort([for path in keys(local.routes) : format("%05d%s", length(path), path)])) : substr(key, 5, -1)]
  route_rules = concat(
    [for path in local.longest_first : { function = local.routes[path], prefix = [], whole = [path, "${path}/"] } if !endswith(path, "/")],
    [for path in local.longest_first : { function = local.routes[path], prefix = [path], whole = [] } if endswith(path, "/")],
  )
}

resource "google_compute_global_address" "front" {
  count      = var.front == "domain" ? 1 : 0
  project    = var.project
  name       = "llm-runs"
  depends_on = [google_project_service.apis]
}

resource "google_compute_managed_ssl_certificate" "front" {
  count   = var.front == "domain" ? 1 : 0
  project = var.project
  name    = "llm-runs-${replace(var.domain, ".", "-")}"

  managed {
    domains = [var.domain]
  }

  depends_on = [google_project_service.apis]

  lifecycle {
    create_before_destroy = true
  }
}

resource "google_compute_region_network_endpoint_group" "front" {
  for_each              = local.behind_domain
  project               = var.project
  region                = var.region
  name                  = "llm-runs-${local.services[each.value]}"
  network_endpoint_type = "SERVERLESS"

  cloud_run {
    service = local.services[each.value]
  }

  depends_on = [google_cloudfunctions2_function.functions]
}

resource "google_compute_backend_service" "front" {
  for_each              = local.behind_domain
  project               = var.project
  name                  = "llm-runs-${local.services[each.value]}"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  protocol              = "HTTPS"
  enable_cdn            = false
  # Compression would hold back the events of a stream.
  compression_mode = "DISABLED"
  security_policy  = google_compute_security_policy.front[0].id

  backend {
    group = google_compute_region_network_endpoint_group.front[each.value].id
  }

  log_config {
    enable      = true
    sample_rate = 0.1
  }
}

resource "google_compute_security_policy" "front" {
  count       = var.front == "domain" ? 1 : 0
  project     = var.project
  name        = "llm-runs"
  description = "Answers 429 to an address that sends too many requests."

  rule {
    action      = "throttle"
    priority    = 1000
    description = "Limits the requests of one address."

    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }

    rate_limit_options {
      conform_action = "allow"
      exceed_action  = "deny(429)"
      enforce_on_key = "IP"

      rate_limit_threshold {
        count        = var.requests_per_minute
        interval_sec = 60
      }
    }
  }

  # Google requires a last rule for everything.
  rule {
    action      = "allow"
    priority    = 2147483647
    description = "Allows what no other rule has decided."

    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }
  }

  depends_on = [google_project_service.apis]
}

resource "google_compute_url_map" "front" {
  count           = var.front == "domain" ? 1 : 0
  project         = var.project
  name            = "llm-runs"
  default_service = google_compute_backend_service.front["read_runs"].id

  host_rule {
    hosts        = [var.domain]
    path_matcher = "paths"
  }

  path_matcher {
    name            = "paths"
    default_service = google_compute_backend_service.front["read_runs"].id

    dynamic "route_rules" {
      for_each = local.route_rules
      content {
        priority = route_rules.key + 1
        service  = google_compute_backend_service.front[route_rules.value.function].id

        dynamic "match_rules" {
          for_each = route_rules.value.whole
          content {
            full_path_match = match_rules.value
          }
        }

        dynamic "match_rules" {
          for_each = route_rules.value.prefix
          content {
            prefix_match = match_rules.value
          }
        }
      }
    }
  }
}

resource "google_compute_target_https_proxy" "front" {
  count            = var.front == "domain" ? 1 : 0
  project          = var.project
  name             = "llm-runs"
  url_map          = google_compute_url_map.front[0].id
  ssl_certificates = [google_compute_managed_ssl_certificate.front[0].id]
  ssl_policy       = google_compute_ssl_policy.front[0].id
}

resource "google_compute_ssl_policy" "front" {
  count           = var.front == "domain" ? 1 : 0
  project         = var.project
  name            = "llm-runs"
  profile         = "MODERN"
  min_tls_version = "TLS_1_2"
  depends_on      = [google_project_service.apis]
}

resource "google_compute_global_forwarding_rule" "https" {
  count                 = var.front == "domain" ? 1 : 0
  project               = var.project
  name                  = "llm-runs-https"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.front[0].id
  port_range            = "443"
  target                = google_compute_target_https_proxy.front[0].id
}

resource "google_compute_url_map" "to_https" {
  count   = var.front == "domain" ? 1 : 0
  project = var.project
  name    = "llm-runs-to-https"

  default_url_redirect {
    https_redirect = true
    strip_query    = false
  }

  depends_on = [google_project_service.apis]
}

resource "google_compute_target_http_proxy" "to_https" {
  count   = var.front == "domain" ? 1 : 0
  project = var.project
  name    = "llm-runs-to-https"
  url_map = google_compute_url_map.to_https[0].id
}

resource "google_compute_global_forwarding_rule" "http" {
  count                 = var.front == "domain" ? 1 : 0
  project               = var.project
  name                  = "llm-runs-http"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.front[0].id
  port_range            = "80"
  target                = google_compute_target_http_proxy.to_https[0].id
}
