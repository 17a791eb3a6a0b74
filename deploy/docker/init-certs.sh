#!/bin/sh
# Makes what a quickstart site needs, once: a certificate authority, one identity each for the
# coordinator, the agent, an operator and a viewer, and the repository's key. Run again, it changes
# nothing; with RENEW=1 it issues new certificates from the same authority (running programs pick them up).
#
# /pki/ca         the authority (in production: offline, on another machine)
# /pki/<role>     cert.pem, key.pem, ca.pem
# /pki/keys       repository.key: 64 hexadecimal digits. Without it the backups can't be read: keep a copy elsewhere.
#
# Each of these may be a volume of its own. Files appear under their final names only once complete,
# so that an interrupted run can be repeated.
set -eu
umask 077
pki=${PKI_DIR:-/pki}
domain=${TRUST_DOMAIN:-quickstart.holdfast}

if [ ! -e "$pki/ca/ca.pem" ]; then
  rm -rf "$pki/ca/.new"
  holdfast certs init "$pki/ca/.new" --domain "$domain"
  mv "$pki/ca/.new/ca-key.pem" "$pki/ca/ca-key.pem"
  mv "$pki/ca/.new/ca.pem" "$pki/ca/ca.pem"
  rmdir "$pki/ca/.new"
fi

issue() { # role name [option value]...
  role=$1 name=$2
  shift 2
  [ ! -e "$pki/$role/cert.pem" ] || [ -n "${RENEW:-}" ] || return 0
  rm -rf "$pki/$role/.new"
  holdfast certs issue --ca "$pki/ca" --role "$role" --name "$name" --out "$pki/$role/.new" "$@"
  for file in ca.pem key.pem cert.pem; do
    mv "$pki/$role/.new/$file" "$pki/$role/$file"
  done
  rmdir "$pki/$role/.new"
}
issue coordinator "${COORDINATOR:-c1}" --dns coordinator --dns localhost
issue agent "${NODE:-n1}"
issue operator "${OPERATOR:-admin}"
issue viewer "${VIEWER:-dashboard}"

if [ ! -e "$pki/keys/repository.key" ]; then
  od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "$pki/keys/repository.key.new"
  mv "$pki/keys/repository.key.new" "$pki/keys/repository.key"
fi
echo "init-certs: everything is in place under $pki"
