variable "project" {
  description = "Id of the Google Cloud project. It exists and has a billing account."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "A project id has 6 to 30 lower-case letters, digits and hyphens, and begins with a letter."
  }
}

variable "region" {
  description = "Region of functions, queues, scheduler and, unless firestore_location says otherwise, Firestore."
  type        = string
  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "A region is a name such as europe-west1."
  }
}

variable "package" {
  description = "Path of the functions' source, which `make package` makes."
  type        = string
  validation {
    condition     = can(regex("llm-runs-[0-9a-f]{12}[.]zip$", var.package))
    error_message = "Give the path that `make package` prints."
  }
}

variable "llm_deployments" {
  description = "{name: base URL} of the regional LLM deployments (the setting LLM_DEPLOYMENTS). Organizations and models name one of them."
  type        = map(string)
  validation {
    condition     = length(var.llm_deployments) > 0 && alltrue([for url in values(var.llm_deployments) : startswith(url, "https://")])
    error_message = "Give at least one deployment; each is an https URL."
  }
}

variable "settings" {
  description = "Further settings of the functions, {name: value}, of those that infra/cloud.json lists under settings. infra/README.md describes them."
  type        = map(string)
  default     = {}
  validation {
    condition     = length(setsubtract(keys(var.settings), local.cloud.settings)) == 0
    error_message = "Only settings that infra/cloud.json lists under settings can be given here. Keys and passwords belong into secrets."
  }
}

variable "secrets" {
  description = "{name of an environment variable: version of its secret}, for the keys that models name (such as OPENAI_API_KEY) and for REDIS_URL. An empty version makes the secret and mounts it nowhere yet."
  type        = map(string)
  default     = {}
  validation {
    condition     = alltrue([for name, version in var.secrets : can(regex("^[A-Z][A-Z0-9_]*$", name)) && can(regex("^([1-9][0-9]*)?$", version))])
    error_message = "A secret is named like an environment variable, and its version is a number or empty. Its value is no variable of Terraform."
  }
}

variable "allowed_origins" {
  description = "Origins of other sites whose pages may call the API, such as https://app.example.com (the setting ALLOWED_ORIGINS)."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for origin in var.allowed_origins : can(regex("^https?://[a-z0-9.-]+(:[0-9]{1,5})?$", origin))])
    error_message = "An origin has a scheme, a host and perhaps a port, without a path."
  }
}

variable "front" {
  description = "How clients reach the functions: plain (the functions' own URLs), domain (a load balancer with a domain), hosting (Firebase Hosting only). infra/README.md says what works with each."
  type        = string
  default     = "plain"
  validation {
    condition     = contains(["plain", "domain", "hosting"], var.front)
    error_message = "The front is plain, domain or hosting."
  }
}

variable "domain" {
  description = "Host name of the load balancer, such as runs.example.com; needed with front = \"domain\"."
  type        = string
  default     = ""
  validation {
    condition     = (var.front == "domain") == (var.domain != "")
    error_message = "front = \"domain\" needs a domain, and no other front takes one."
  }
}

variable "requests_per_minute" {
  description = "How many requests one address may send in a minute before Cloud Armor answers 429; only with front = \"domain\"."
  type        = number
  default     = 600
  validation {
    condition     = var.requests_per_minute >= 10 && var.requests_per_minute <= 1000000
    error_message = "Between 10 and 1,000,000 requests a minute."
  }
}

variable "hosting_site" {
  description = "Name of the Firebase Hosting site whose pages call the API; empty means the project's own. Its origins are allowed."
  type        = string
  default     = ""
}

variable "firestore_database" {
  description = "Name of the Firestore database. Import it when it exists already; infra/README.md shows the command."
  type        = string
  default     = "(default)"
  validation {
    condition     = var.firestore_database == "(default)" || can(regex("^[a-z][a-z0-9-]{2,61}[a-z0-9]$", var.firestore_database))
    error_message = "(default), or 4 to 63 lower-case letters, digits and hyphens."
  }
}

variable "firestore_location" {
  description = "Location of the Firestore database, such as eur3 or nam5; empty means the region. It cannot be changed later."
  type        = string
  default     = ""
}

variable "min_instances" {
  description = "{function: instances that are kept warm}; 0 where it says nothing. Each costs about as much as a small machine."
  type        = map(number)
  default     = {}
  validation {
    condition     = length(setsubtract(keys(var.min_instances), keys(local.cloud.functions))) == 0
    error_message = "Only the six functions have instances."
  }
}

variable "memorystore" {
  description = "Whether to make a Redis for the result cache: an instance, and a connector to its network. Both cost by the hour."
  type        = bool
  default     = false
  validation {
    condition     = !(var.memorystore && contains(keys(var.secrets), "REDIS_URL"))
    error_message = "With memorystore, Terraform makes the secret REDIS_URL itself."
  }
}

variable "network" {
  description = "Name of the VPC network of Memorystore."
  type        = string
  default     = "default"
}

variable "alert_email" {
  description = "Address that gets the alarms."
  type        = string
  validation {
    condition     = can(regex("^[^@\\s]+@[^@\\s]+$", var.alert_email))
    error_message = "Give an e-mail address."
  }
}

variable "billing_account" {
  description = "Billing account of the budget, such as 012345-6789AB-CDEF01; empty means no budget."
  type        = string
  default     = ""
  validation {
    condition     = can(regex("^([0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6})?$", var.billing_account))
    error_message = "A billing account has the form 012345-6789AB-CDEF01."
  }
}

variable "monthly_budget" {
  description = "Amount, in the billing account's currency, at whose half, 90 % and whole the project's costs of a month send a message."
  type        = number
  default     = 100
  validation {
    condition     = var.monthly_budget >= 1 && floor(var.monthly_budget) == var.monthly_budget
    error_message = "A whole number from 1 on."
  }
}
