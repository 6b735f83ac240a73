#!/usr/bin/env bash
# Makes everything in a Google Cloud project with plain gcloud, for people without Terraform. infra/README.md explains
# each step. It may run again at any time: it makes what is missing and changes what differs. It needs gcloud, signed in
# as an owner of the project, and Python 3.11.
#
#     PROJECT=my-project REGION=europe-west1 ALERT_EMAIL=oncall@example.com \
#       LLM_DEPLOYMENTS='{"default": "https://llm.example.com"}' infra/gcloud.sh
#
# Further variables: DATABASE, FIRESTORE_LOCATION, ALLOWED_ORIGINS, STREAMS_URL=yes (see "hosting" in infra/README.md),
# SECRETS="OPENAI_API_KEY=1 REDIS_URL=1" (name=version), SETTINGS="MAX_ATTEMPTS=3 LOG_LEVEL=INFO".
# DOMAIN=runs.example.com makes a load balancer, with REQUESTS_PER_MINUTE=600 of one address; MEMORYSTORE=yes makes a
# Redis in NETWORK=default; BILLING_ACCOUNT=012345-6789AB-CDEF01 makes a budget of MONTHLY_BUDGET=100.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${PROJECT:?}" "${REGION:?}" "${ALERT_EMAIL:?}" "${LLM_DEPLOYMENTS:?}"
DATABASE=${DATABASE:-(default)} PYTHON=${PYTHON:-python3}
DOMAIN=${DOMAIN:-} MEMORYSTORE=${MEMORYSTORE:-} BILLING_ACCOUNT=${BILLING_ACCOUNT:-}
if [ -n "$MEMORYSTORE" ]; then
  case " ${SECRETS:-}" in *" REDIS_URL="*) echo "MEMORYSTORE makes the secret REDIS_URL itself." >&2; exit 1 ;; esac
fi
RULES_API=${RULES_API:-https://firebaserules.googleapis.com/}
export CLOUDSDK_CORE_PROJECT=$PROJECT CLOUDSDK_CORE_DISABLE_PROMPTS=1

step() { echo "== $*" >&2; }
rows() { "$PYTHON" -m infra.cloud "$1"; }
exists() { "$@" --format=none >/dev/null 2>&1; }
lines() { "$@" 2>/dev/null || true; }
email() { echo "$1@$PROJECT.iam.gserviceaccount.com"; }
member() { echo "serviceAccount:$(email "$1")"; }
has() { grep -qxF -- "$2" <<<"$1"; }

# grant MEMBER ROLE GROUP… -- adds the member to the role of a resource unless it has it. GROUP… is gcloud's group of
# commands and the resource, as in: pubsub topics llm-runs.
grant() {
  local member=$1 role=$2 resource=${*: -1}
  local group=("${@:3:$#-3}") options=()
  case "${group[0]}" in tasks) options=(--location="$REGION") ;; run) options=(--region="$REGION") ;; esac
  local key="${group[*]} $resource"
  if [ "$key" != "${granted_key:-}" ]; then
    granted_key=$key granted=$(lines gcloud "${group[@]}" get-iam-policy "$resource" ${options[@]+"${options[@]}"} \
      --flatten='bindings[].members' --format='value[separator=" "](bindings.role,bindings.members)')
  fi
  has "$granted" "$role $member" && return
  [ "${group[0]}" = projects ] && options+=(--condition=None)
  gcloud "${group[@]}" add-iam-policy-binding "$resource" ${options[@]+"${options[@]}"} --format=none \
    --member="$member" --role="$role"
}

step "1. APIs"
enabled=$(lines gcloud services list --enabled --format='value(config.name)')
traces=
case " ${SETTINGS:-} " in *" $(rows traces.setting) "*) traces=yes ;; esac
wanted=$({
  rows apis
  [ -z "$traces" ] || rows traces.apis | tr -d '[]" ' | tr , '\n'
  [ -z "$DOMAIN$MEMORYSTORE" ] || echo compute.googleapis.com
  [ -z "$MEMORYSTORE" ] || printf '%s\n' redis.googleapis.com vpcaccess.googleapis.com
  [ -z "$BILLING_ACCOUNT" ] || echo billingbudgets.googleapis.com
})
missing=$(grep -vxF -e "$enabled" <<<"$wanted" || true)
[ -z "$missing" ] || gcloud services enable $missing
NUMBER=$(gcloud projects describe "$PROJECT" --format='value(projectNumber)')
url() { echo "https://$1-$NUMBER.$REGION.run.app"; }

step "2. Firestore: database, backups, indexes, fields, rules"
if ! exists gcloud firestore databases describe --database="$DATABASE"; then
  gcloud firestore databases create --database="$DATABASE" --location="${FIRESTORE_LOCATION:-$REGION}" \
    --type=firestore-native --enable-pitr --delete-protection --format=none
fi
if [ -z "$(lines gcloud firestore backups schedules list --database="$DATABASE" --format='value(name)')" ]; then
  gcloud firestore backups schedules create --database="$DATABASE" --recurrence=daily \
    --retention="$(rows firestore.backup_days)d" --format=none
fi
present=$(lines gcloud firestore indexes composite list --database="$DATABASE" --format=json | "$PYTHON" -c '
import json, sys
for index in json.load(sys.stdin):
    fields = [field for field in index["fields"] if field["fieldPath"] != "__name__"]
    print(index["name"].split("/")[-3] + "|" + ",".join("{fieldPath}:{order}".format(**field) for field in fields))')
while IFS='|' read -r collection fields options; do
  has "$present" "$collection|$fields" || gcloud firestore indexes composite create --database="$DATABASE" --async \
    --collection-group="$collection" --query-scope=collection $options --format=none
done < <(rows indexes)
present=$(lines gcloud firestore indexes fields list --database="$DATABASE" --format='value(name)' | sed 's|.*/collectionGroups/||')
expiring=$(lines gcloud firestore fields ttls list --database="$DATABASE" --format='value(name)' | sed 's|.*/collectionGroups/||')
while IFS='|' read -r collection field ttl; do
  has "$present" "$collection/fields/$field" || gcloud firestore indexes fields update "$field" --database="$DATABASE" \
    --collection-group="$collection" --disable-indexes --async --format=none
  [ -z "$ttl" ] || has "$expiring" "$collection/fields/$field" || gcloud firestore fields ttls update "$field" \
    --database="$DATABASE" --collection-group="$collection" --enable-ttl --async --format=none
done < <(rows exemptions)
gcloud auth print-access-token | "$PYTHON" -m infra.release_rules "$PROJECT" "$DATABASE" "$RULES_API"

step "3. Service accounts and what they may do in the project"
present=$(lines gcloud iam service-accounts list --format='value(email)')
while IFS='|' read -r account title; do
  has "$present" "$(email "$account")" || gcloud iam service-accounts create "$account" --display-name="$title" --format=none
done < <(rows accounts)
role=$(rows session_role.id)
if ! exists gcloud iam roles describe "$role" --project="$PROJECT"; then
  gcloud iam roles create "$role" --project="$PROJECT" --title="$(rows session_role.title)" \
    --permissions="$(rows session_role.permissions | tr -d '[]" ')" --format=none
fi
while IFS='|' read -r account role; do
  [[ $role == roles/* ]] || role="projects/$PROJECT/roles/$role"
  grant "$(member "$account")" "$role" projects "$PROJECT"
done < <(rows project_roles)
if [ -n "$traces" ]; then
  while IFS='|' read -r _ _ account _; do
    grant "$(member "$account")" "$(rows traces.role)" projects "$PROJECT"
  done < <(rows functions)
fi

step "4. Topics and queues"
present=$(lines gcloud pubsub topics list --format='value(name)')
while IFS='|' read -r topic; do
  has "$present" "projects/$PROJECT/topics/$topic" || gcloud pubsub topics create "$topic" --format=none
done < <(rows topics)
while IFS='|' read -r topic account; do
  grant "$(member "$account")" roles/pubsub.publisher pubsub topics "$topic"
done < <(rows publishers)
present=$(lines gcloud tasks queues list --location="$REGION" --format='value(name.basename())')
while IFS='|' read -r queue per_second at_once; do
  verb=$(has "$present" "$queue" && echo update || echo create)
  gcloud tasks queues "$verb" "$queue" --location="$REGION" --format=none \
    --max-dispatches-per-second="$per_second" --max-concurrent-dispatches="$at_once" --log-sampling-ratio=0.1 \
    --max-attempts="$(rows queue_retry.max_attempts)" --max-retry-duration="$(rows queue_retry.max_retry_seconds)s" \
    --min-backoff="$(rows queue_retry.min_backoff_seconds)s" --max-backoff="$(rows queue_retry.max_backoff_seconds)s" \
    --max-doublings="$(rows queue_retry.max_doublings)"
  while IFS='|' read -r account; do
    grant "$(member "$account")" roles/cloudtasks.enqueuer tasks queues "$queue"
  done < <(rows schedulers | sed -n "s/^$queue|//p")
done < <(rows queues)
invoker=$(rows accounts.invoker)
while IFS='|' read -r account; do
  grant "$(member "$account")" roles/iam.serviceAccountUser iam service-accounts "$(email "$invoker")"
done < <(rows schedulers | cut -d '|' -f 2 | sort -u)

step "5. Memorystore, secrets"
if [ -n "$MEMORYSTORE" ]; then
  network=projects/$PROJECT/global/networks/${NETWORK:-default}
  exists gcloud redis instances describe llm-runs-results --region="$REGION" ||
    gcloud redis instances create llm-runs-results --region="$REGION" --tier=basic --size=1 --redis-version=redis_7_2 \
      --enable-auth --network="$network" --redis-config=maxmemory-policy=allkeys-lru --format=none
  exists gcloud compute networks vpc-access connectors describe llm-runs --region="$REGION" ||
    gcloud compute networks vpc-access connectors create llm-runs --region="$REGION" --network="${NETWORK:-default}" \
      --range=10.8.0.0/28 --min-instances=2 --max-instances=3 --machine-type=e2-micro --format=none
  exists gcloud secrets describe REDIS_URL || gcloud secrets create REDIS_URL --replication-policy=automatic --format=none
  newest() { lines gcloud secrets versions list REDIS_URL --filter=state=enabled --limit=1 --format='value(name.basename())'; }
  if [ -z "$(newest)" ]; then
    address=$(gcloud redis instances describe llm-runs-results --region="$REGION" --format='value[separator=":"](host,port)')
    word=$(gcloud redis instances get-auth-string llm-runs-results --region="$REGION" --format='value(authString)')
    printf 'redis://:%s@%s/0' "$word" "$address" | gcloud secrets versions add REDIS_URL --data-file=- --format=none
  fi
  SECRETS="${SECRETS:-} REDIS_URL=$(newest)"
fi
present=$(lines gcloud secrets list --format='value(name)')
for item in ${SECRETS:-}; do
  secret=${item%%=*}
  has "$present" "$secret" || gcloud secrets create "$secret" --replication-policy=automatic --format=none
  while IFS='|' read -r _ account reads; do
    [ "$reads" = REDIS_URL ] && [ "$secret" != REDIS_URL ] && continue
    [ "$reads" = models ] && [ "$secret" = REDIS_URL ] && continue
    grant "$(member "$account")" roles/secretmanager.secretAccessor secrets "$secret"
  done < <(rows secret_readers)
done

step "6. Functions"
readers=$(rows secret_readers)
package=$("$PYTHON" -m infra.package)
bucket="gs://$PROJECT-llm-runs-source"
exists gcloud storage buckets describe "$bucket" || gcloud storage buckets create "$bucket" --location="$REGION" \
  --uniform-bucket-level-access --public-access-prevention --format=none
source="$bucket/$(basename "$package")"
exists gcloud storage objects describe "$source" || gcloud storage cp --quiet "$package" "$source"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
{
  echo "BACKEND: gcp"
  rows settings | sed 's/|/: /'
  for item in ${SETTINGS:-}; do echo "${item%%=*}: '${item#*=}'"; done
  origins="https://$PROJECT.web.app,https://$PROJECT.firebaseapp.com${DOMAIN:+,https://$DOMAIN}${ALLOWED_ORIGINS:+,$ALLOWED_ORIGINS}"
  echo "GOOGLE_CLOUD_PROJECT: $PROJECT"
  echo "FIRESTORE_DATABASE: '$DATABASE'"
  echo "TASKS_LOCATION: $REGION"
  echo "RECHECK_URL: $(url recheck-run)"
  echo "DELIVER_WEBHOOK_URL: $(url deliver-webhook)"
  echo "INTERNAL_AUDIENCE: $(url recheck-run)"
  echo "INVOKER_SERVICE_ACCOUNT: $(email "$invoker")"
  echo "LLM_DEPLOYMENTS: '$LLM_DEPLOYMENTS'"
  echo "ALLOWED_ORIGINS: '$origins'"
  echo "SWEEP_SECONDS: '60'"
  [ -z "${STREAMS_URL:-}" ] || echo "STREAMS_URL: $(url read-runs)"
} >"$folder/settings.yaml"
while IFS='|' read -r function service account ingress cpu memory concurrency instances seconds; do
  mounts=() network=()
  if [ "$ingress" = all ] && [ -n "$DOMAIN" ]; then ingress=internal-and-gclb; fi
  if [ -n "$MEMORYSTORE" ] && grep -q "^$function|.*|REDIS_URL$" <<<"$readers"; then
    network=(--vpc-connector=llm-runs --egress-settings=private-ranges-only)
  fi
  for item in ${SECRETS:-}; do
    reads=$([ "${item%%=*}" = REDIS_URL ] && echo REDIS_URL || echo models)
    if [[ $item == *=[1-9]* ]] && grep -q "^$function|.*|$reads$" <<<"$readers"; then
      mounts+=("${item%%=*}=${item/=/:}")
    fi
  done
  options=(--gen2 --region="$REGION" --runtime="$(rows runtime)" --source="$source" --entry-point="$function"
    --set-build-env-vars="SOURCE_DATE_EPOCH=$(rows source_date_epoch)"  # see terraform/functions.tf
    --trigger-http --allow-unauthenticated --ingress-settings="$ingress" --service-account="$(email "$account")"
    --build-service-account="projects/$PROJECT/serviceAccounts/$(email "$(rows accounts.build)")"
    --cpu="$cpu" --memory="$memory" --concurrency="$concurrency" --max-instances="$instances" --timeout="${seconds}s"
    ${network[@]+"${network[@]}"})
  if ((${#mounts[@]})); then options+=(--set-secrets="$(IFS=,; echo "${mounts[*]}")"); else options+=(--clear-secrets); fi
  deployment=$({ printf '%s\n' "${options[@]}"; cat "$folder/settings.yaml"; } | "$PYTHON" -c '
import hashlib, sys
print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:32])')
  present=$(lines gcloud functions describe "$function" --gen2 --region="$REGION" --format='value(labels.deployment,state)')
  [ "$present" = "$deployment"$'\t'ACTIVE ] || gcloud functions deploy "$function" "${options[@]}" \
    --env-vars-file="$folder/settings.yaml" --update-labels=deployment="$deployment" --format=none
done < <(rows functions)

step "7. Subscriptions, dead letters, scheduler"
agent="serviceAccount:service-$NUMBER@gcp-sa-pubsub.iam.gserviceaccount.com"
grant "$agent" roles/iam.serviceAccountTokenCreator iam service-accounts "$(email "$invoker")"
present=$(lines gcloud pubsub subscriptions list --format='value(name)')
while IFS='|' read -r subscription topic service dead_letters; do
  options=(--push-endpoint="$(url "$service")" --push-auth-service-account="$(email "$invoker")"
    --push-auth-token-audience="$(url recheck-run)" --ack-deadline="$(rows delivery.ack_deadline_seconds)"
    --message-retention-duration="$(rows delivery.retention_seconds)s" --expiration-period=never
    --min-retry-delay="$(rows delivery.min_backoff_seconds)s" --max-retry-delay="$(rows delivery.max_backoff_seconds)s")
  [ -z "$dead_letters" ] || options+=(--dead-letter-topic="$dead_letters"
    --max-delivery-attempts="$(rows delivery.max_deliveries)")
  if has "$present" "projects/$PROJECT/subscriptions/$subscription"; then
    gcloud pubsub subscriptions update "$subscription" "${options[@]}" --format=none
  else
    gcloud pubsub subscriptions create "$subscription" --topic="$topic" "${options[@]}" --format=none
  fi
  if [ -n "$dead_letters" ]; then
    grant "$agent" roles/pubsub.publisher pubsub topics "$dead_letters"
    grant "$agent" roles/pubsub.subscriber pubsub subscriptions "$subscription"
  fi
done < <(rows subscriptions)
job=$(rows sweep.name)
verb=$(exists gcloud scheduler jobs describe "$job" --location="$REGION" && echo update || echo create)
gcloud scheduler jobs "$verb" http "$job" --location="$REGION" --schedule="$(rows sweep.schedule)" --time-zone=Etc/UTC \
  --uri="$(url sweep-runs)" --http-method=POST --attempt-deadline="$(rows sweep.attempt_seconds)s" \
  --max-retry-attempts=0 --oidc-service-account-email="$(email "$invoker")" \
  --oidc-token-audience="$(url recheck-run)" --format=none

step "8. Load balancer"
if [ -n "$DOMAIN" ]; then
  # made GROUP… NAME ARGUMENTS… -- makes what gcloud's group of commands does not find under the name. The group ends with
  # the first word that is a name of ours.
  made() {
    local group=()
    while [[ $1 != llm-runs* ]]; do group+=("$1"); shift; done
    local name=$1 where=--global
    shift
    case " $* " in *" --region="*) where=--region=$REGION ;; esac
    case "${group[0]}" in security-policies | ssl-policies) where= ;; esac
    exists gcloud compute "${group[@]}" describe "$name" $where || gcloud compute "${group[@]}" create "$name" "$@" --format=none
  }
  certificate=llm-runs-${DOMAIN//./-}
  made addresses llm-runs --global
  made ssl-certificates "$certificate" --global --domains="$DOMAIN"
  made ssl-policies llm-runs --profile=MODERN --min-tls-version=1.2
  made security-policies llm-runs --description="Answers 429 to an address that sends too many requests."
  verb=$(exists gcloud compute security-policies rules describe 1000 --security-policy=llm-runs && echo update || echo create)
  gcloud compute security-policies rules "$verb" 1000 --security-policy=llm-runs --action=throttle --src-ip-ranges='*' \
    --rate-limit-threshold-count="${REQUESTS_PER_MINUTE:-600}" --rate-limit-threshold-interval-sec=60 \
    --conform-action=allow --exceed-action=deny-429 --enforce-on-key=ip --format=none
  while IFS='|' read -r _ service _ ingress _; do
    [ "$ingress" = all ] || continue
    made network-endpoint-groups "llm-runs-$service" --region="$REGION" --network-endpoint-type=serverless \
      --cloud-run-service="$service"
    # Compression would hold back the events of a stream.
    made backend-services "llm-runs-$service" --global --load-balancing-scheme=EXTERNAL_MANAGED --protocol=HTTPS \
      --compression-mode=DISABLED --no-enable-cdn --enable-logging --logging-sample-rate=0.1
    present=$(lines gcloud compute backend-services describe "llm-runs-$service" --global --format='value(backends[].group,securityPolicy)')
    [[ $present == *networkEndpointGroups* ]] || gcloud compute backend-services add-backend "llm-runs-$service" --global \
      --network-endpoint-group="llm-runs-$service" --network-endpoint-group-region="$REGION" --format=none
    [[ $present == *securityPolicies* ]] || gcloud compute backend-services update "llm-runs-$service" --global \
      --security-policy=llm-runs --format=none
  done < <(rows functions)
  "$PYTHON" -m infra.url_map "$PROJECT" "$DOMAIN" | gcloud compute url-maps import llm-runs --global --format=none
  made target-https-proxies llm-runs --global --url-map=llm-runs --ssl-certificates="$certificate" --ssl-policy=llm-runs
  gcloud compute target-https-proxies update llm-runs --global --ssl-certificates="$certificate" --format=none
  made forwarding-rules llm-runs-https --global --load-balancing-scheme=EXTERNAL_MANAGED --address=llm-runs --ports=443 \
    --target-https-proxy=llm-runs
  echo '{"name": "llm-runs-to-https", "defaultUrlRedirect": {"httpsRedirect": true}}' |
    gcloud compute url-maps import llm-runs-to-https --global --format=none
  made target-http-proxies llm-runs-to-https --global --url-map=llm-runs-to-https
  made forwarding-rules llm-runs-http --global --load-balancing-scheme=EXTERNAL_MANAGED --address=llm-runs --ports=80 \
    --target-http-proxy=llm-runs-to-https
fi

step "9. Metrics, alarms, dashboard, uptime check, budget"
present=$(lines gcloud logging metrics list --format='value(name)')
while IFS='|' read -r metric filter description; do
  has "$present" "$metric" || gcloud logging metrics create "$metric" --description="$description" \
    --log-filter="$filter" --format=none
done < <(rows metrics)
check=$(rows uptime.displayName)
[ -n "$(lines gcloud monitoring uptime list-configs --filter="displayName=$check" --format='value(name)')" ] ||
  gcloud monitoring uptime create "$check" --resource-type=uptime-url --format=none \
    --resource-labels="host=${DOMAIN:-read-runs-$NUMBER.$REGION.run.app},project_id=$PROJECT" --protocol=https \
    --path="$(rows uptime.httpCheck.path)" --port="$(rows uptime.httpCheck.port)" --period=5 --timeout=10
find_channel() { lines gcloud beta monitoring channels list --filter='displayName="LLM Runs"' --format='value(name)'; }
channel=$(find_channel)
if [ -z "$channel" ]; then
  gcloud beta monitoring channels create --display-name="LLM Runs" --type=email \
    --channel-labels="email_address=$ALERT_EMAIL" --format=none
  channel=$(find_channel)
fi
present=$(lines gcloud alpha monitoring policies list --format='value(displayName)')
while IFS='|' read -r title policy; do
  has "$present" "$title" || gcloud alpha monitoring policies create --notification-channels="$channel" --policy="$policy" \
    --format=none
done < <(rows alarms)
[ -n "$(lines gcloud monitoring dashboards list --filter='displayName="LLM Runs"' --format='value(name)')" ] ||
  gcloud monitoring dashboards create --config="$(rows dashboard)" --format=none
if [ -n "$BILLING_ACCOUNT" ]; then
  [ -n "$(lines gcloud billing budgets list --billing-account="$BILLING_ACCOUNT" --format='value(displayName)' |
    grep -xF "LLM Runs: $PROJECT")" ] || gcloud billing budgets create --billing-account="$BILLING_ACCOUNT" \
    --display-name="LLM Runs: $PROJECT" --budget-amount="${MONTHLY_BUDGET:-100}" --filter-projects="projects/$NUMBER" \
    --threshold-rule=percent=0.5 --threshold-rule=percent=0.9 --threshold-rule=percent=1.0 \
    --notifications-rule-monitoring-notification-channels="$channel" --format=none
fi

if [ -n "$DOMAIN" ]; then
  address=$(gcloud compute addresses describe llm-runs --global --format='value(address)')
  echo "let the A record of $DOMAIN be $address; submit to https://$DOMAIN, read from https://$DOMAIN"
else
  echo "submit to $(url submit-run), read from $(url read-runs)"
fi
