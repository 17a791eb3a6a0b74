#!/bin/sh
# Proves the quickstart with a real Docker engine, on its own compose project and free ports:
# up, load, back up, restart, destroy, restore, compare, lose the storage, restore cold, compare, down -v.
#
# Exits 0 when everything held, 1 when something did not. Where there is no engine, no compose or no image,
# it says `SKIPPED:` with the reason and exits 0. The variables of README.md hold here too; in addition:
#   COMPOSE   the compose command (default: `docker compose`, else `docker-compose`)
#   POINTS    points to load (default 2000)
#   KEEP=1    leave the stack running for a look
# Unless HOLDFAST_BINARIES says otherwise, programs found in deploy/docker/bin/ are used, else they are compiled.
set -eu
cd "$(dirname "$0")"

points=${POINTS:-2000}
wait_secs=180
pull_secs=600
export COMPOSE_PROJECT_NAME="holdfast-smoke-$$"
export QDRANT_HTTP_PORT=0 QDRANT_GRPC_PORT=0 # the engine picks free ones
export DOCKER_BUILDKIT=1 COMPOSE_DOCKER_CLI_BUILD=1
qdrant_image=${QDRANT_IMAGE:-qdrant/qdrant:v1.18.3-unprivileged}
base_image=${HOLDFAST_BASE_IMAGE:-debian:bookworm-slim}
rust_image=${HOLDFAST_RUST_IMAGE:-rust:1.95-bookworm}

step() { printf '== %s\n' "$*" >&2; }
skip() {
  echo "SKIPPED: $*"
  exit 0
}
reason="a command failed: see above"
fail() { # said last, after the logs
  reason=$*
  exit 1
}
have_image() { # image
  docker image inspect "$1" >/dev/null 2>&1 || timeout "$pull_secs" docker pull -q "$1" >&2
}

command -v docker >/dev/null || skip "no docker command"
timeout 20 docker version --format '{{.Server.Version}}' >/dev/null 2>&1 || skip "no Docker engine can be reached"
if [ -z "${COMPOSE:-}" ]; then
  if docker compose version >/dev/null 2>&1; then
    COMPOSE="docker compose"
  elif command -v docker-compose >/dev/null; then
    COMPOSE=docker-compose
  else
    skip "neither docker compose nor docker-compose is installed"
  fi
fi
command -v curl >/dev/null || skip "no curl"

if [ -z "${HOLDFAST_BINARIES:-}" ]; then
  HOLDFAST_BINARIES=prebuilt
  for program in holdfast holdfast-agent holdfast-coordinator; do
    [ -x "../../docker/bin/$program" ] || HOLDFAST_BINARIES=compiled
  done
fi
export HOLDFAST_BINARIES
have_image "$qdrant_image" || skip "the image $qdrant_image can't be had"
have_image "$base_image" || skip "the image $base_image can't be had"
if [ "$HOLDFAST_BINARIES" = compiled ]; then
  have_image "$rust_image" || skip "the image $rust_image can't be had, and deploy/docker/bin/ has no programs"
fi

work=$(mktemp -d)
compose() { $COMPOSE "$@" </dev/null; }
finish() {
  result=$?
  trap - EXIT INT TERM
  if [ "$result" -ne 0 ]; then
    compose ps >&2 || true
    compose logs --no-color --tail 40 >&2 || true
  fi
  if [ -z "${KEEP:-}" ]; then
    compose down -v --remove-orphans >/dev/null 2>&1 ||
      { reason="$COMPOSE -p $COMPOSE_PROJECT_NAME down -v"; result=1; }
  else
    echo "left running: $COMPOSE -p $COMPOSE_PROJECT_NAME" >&2
  fi
  rm -rf "$work"
  if [ "$result" -eq 0 ]; then echo "$passed"; else echo "FAILED: $reason" >&2; fi
  exit "$result"
}
trap finish EXIT
trap 'reason=interrupted; exit 130' INT TERM

holdfast() { compose run --rm holdfast "$@"; }
qdrant() { # method path [body file]
  method=$1 path=$2
  shift 2
  [ $# -eq 0 ] || set -- --data-binary "@$1"
  curl -sS --fail-with-body --max-time 60 -X "$method" -H 'content-type: application/json' \
    "http://$address$path" "$@"
}
published() { address=$(compose port qdrant 6333); }
untimed() { sed -e 's/,"time":[0-9.e-]*}$/}/' -e 's/"usage":[^}]*}*,//'; }
# Everything of the collection that a restore must bring back, in Qdrant's own words.
picture() { # file
  {
    echo "{\"limit\": $points, \"with_payload\": true, \"with_vector\": true}" > "$work/scroll.json"
    qdrant POST /collections/smoke/points/scroll "$work/scroll.json" | untimed
    echo
    qdrant GET /collections/smoke | sed -e 's/.*\("config":\)/\1/' | untimed
    echo
    qdrant GET /aliases | untimed
  } > "$1"
}
healthy() { # service...
  tries=0
  for service; do
    until [ "$(docker inspect -f '{{.State.Health.Status}}' "$(compose ps -q "$service")")" = healthy ]; do
      tries=$((tries + 1))
      [ "$tries" -lt "$wait_secs" ] || fail "$service is not healthy after $wait_secs s"
      sleep 1
    done
  done
}
up() {
  compose up -d > "$work/up.log" 2>&1 || { cat "$work/up.log" >&2; fail "up"; }
  healthy qdrant coordinator agent
  published
}
# Only Qdrant is published, on loopback only; nothing runs as root or may become more than it is.
confined() {
  for service in qdrant coordinator agent; do
    id=$(compose ps -q "$service")
    ports=$(docker port "$id")
    status=$(docker exec "$id" cat /proc/1/status)
    echo "$status" | grep -q '^Uid:[[:space:]]*1000[[:space:]]' || fail "$service does not run as uid 1000"
    echo "$status" | grep -q '^CapBnd:[[:space:]]*0*$' || fail "$service has capabilities"
    echo "$status" | grep -q '^NoNewPrivs:[[:space:]]*1$' || fail "$service may gain privileges"
    if [ "$service" = qdrant ]; then
      ! echo "$ports" | grep -v -- '-> 127\.0\.0\.1:' >&2 || fail "$service is published beyond 127.0.0.1"
    else
      [ -z "$ports" ] || fail "$service is published: $ports"
      ! docker exec "$id" touch /usr/local/bin/x 2>/dev/null || fail "the root of $service can be written"
    fi
  done
}

step "build ($HOLDFAST_BINARIES) and start"
compose build > "$work/build.log" 2>&1 || { cat "$work/build.log" >&2; fail "build"; }
up
confined

step "load $points points"
cat > "$work/create.json" <<'JSON'
{"vectors": {"size": 16, "distance": "Cosine"}, "hnsw_config": {"m": 12}, "shard_number": 2}
JSON
qdrant PUT /collections/smoke "$work/create.json" >/dev/null
echo '{"field_name": "group", "field_schema": "keyword"}' > "$work/index.json"
qdrant PUT '/collections/smoke/index?wait=true' "$work/index.json" >/dev/null
awk -v n="$points" 'BEGIN {
  srand(7); printf "{\"points\":["
  for (i = 1; i <= n; i++) {
    printf "%s{\"id\":%d,\"payload\":{\"group\":\"g%d\",\"text\":\"point %d\"},\"vector\":[", (i > 1 ? "," : ""), i, i % 7, i
    for (d = 0; d < 16; d++) printf "%s%.4f", (d ? "," : ""), rand() * 2 - 1
    printf "]}"
  }
  print "]}"
}' > "$work/points.json"
qdrant PUT '/collections/smoke/points?wait=true' "$work/points.json" >/dev/null
cat > "$work/alias.json" <<'JSON'
{"actions": [{"create_alias": {"collection_name": "smoke", "alias_name": "current"}}]}
JSON
qdrant POST /collections/aliases "$work/alias.json" >/dev/null
picture "$work/before"
[ "$(grep -o '"id":' "$work/before" | wc -l)" -eq "$points" ] || fail "the points are not all there"
for part in '"vector":' '"hnsw_config":' '"data_type":"keyword"' '"alias_name":"current"'; do
  grep -qF "$part" "$work/before" || fail "the picture to compare with lacks $part"
done

step "back up"
holdfast status >&2 || fail "status"
holdfast backup create >&2 || fail "backup create"

step "restart without the volumes' loss; the certificates stay as they are"
sums() { compose run --rm --entrypoint sh init -c 'cat /pki/*/*.pem /pki/keys/* | sha256sum'; }
before=$(sums)
compose down >/dev/null 2>&1 || fail "down"
up
[ "$(sums)" = "$before" ] || fail "init changed what was there"
holdfast --output json backup list > "$work/list" || fail "backup list"
grep -q '"smoke"' "$work/list" || { cat "$work/list" >&2; fail "the recovery point is gone"; }

step "destroy, restore, compare"
qdrant DELETE /collections/smoke >/dev/null
if qdrant GET /collections/smoke >/dev/null 2>&1; then fail "the collection is still there"; fi
holdfast restore run latest >&2 || fail "restore run"
picture "$work/after"
cmp "$work/before" "$work/after" >&2 || fail "what was restored differs from what was backed up"

step "lose the storage volume, restore cold, compare"
compose rm -sf qdrant agent restore >/dev/null 2>&1 || fail "rm"
docker volume rm "${COMPOSE_PROJECT_NAME}_qdrant-storage" >/dev/null || fail "volume rm"
holdfast --output json restore ticket latest --node n1 > "$work/ticket" || fail "restore ticket"
HOLDFAST_RESTORE_TICKET=$(sed -n 's/.*"ticket": *"\([^"]*\)".*/\1/p' "$work/ticket")
[ -n "$HOLDFAST_RESTORE_TICKET" ] || { cat "$work/ticket" >&2; fail "there is no ticket"; }
export HOLDFAST_RESTORE_TICKET
up
picture "$work/cold"
cmp "$work/before" "$work/cold" >&2 || fail "what was restored cold differs from what was backed up"

passed="PASSED: $points points came back with vectors, payloads, configuration, payload index and alias as they were"
