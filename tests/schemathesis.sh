#!/usr/bin/env bash
# Throws generated requests at the built server and holds its answers to its own OpenAPI document: no 5xx, no status, no
# content type and no shape that the document does not describe. Needs python3 and a way to the Python package index.
#
#   tests/schemathesis.sh [sqlite|redb] [examples per call, 100 by default]
set -euo pipefail
cd "$(dirname "$0")/.."
backend=${1:-sqlite}
examples=${2:-100}

work=$(mktemp -d)
server=
trap 'if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi; rm -rf "$work"' EXIT

cargo build --quiet -p decentcom-server
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet schemathesis cryptography base58

binary=$PWD/target/debug/decentcom-server
[ -z "${CARGO_TARGET_DIR:-}" ] || binary=$CARGO_TARGET_DIR/debug/decentcom-server
(cd "$work" && DECENTCOM_STORAGE__BACKEND=$backend DECENTCOM_NETWORK__BIND_ADDRESS=127.0.0.1:0 exec "$binary" 2>"$work/log") &
server=$!
for _ in $(seq 100); do
    base=$(sed -n 's/.*listening on \(http:.*\)$/\1/p' "$work/log" 2>/dev/null || true)
    [ -z "$base" ] || break
    sleep 0.1
done
[ -n "$base" ] || { echo "the server did not start:"; cat "$work/log"; exit 1; }

token=$("$work/venv/bin/python" - "$base" <<'PYTHON'
import base64, json, sys, urllib.request
import base58
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

base = sys.argv[1] + "/api/v1"
key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
pubkey = base58.b58encode(raw).decode()

def call(path, body):
    request = urllib.request.Request(base + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))

challenge = call("/auth/challenge", {"pubkey": pubkey})["challenge"]
signature = base64.b64encode(key.sign(challenge.encode())).decode()
print(call("/auth/verify", {"pubkey": pubkey, "signature": signature})["token"])
PYTHON
)

# Logging out would end the session that the other calls use.
"$work/venv/bin/schemathesis" run "$base/api/v1/openapi.json" \
    --header "Authorization: Bearer $token" \
    --exclude-path-regex '/auth/session$' \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
    --max-examples "$examples" --seed 1
if grep -E ' (ERROR|panicked)' "$work/log"; then
    echo "the server logged errors"
    exit 1
fi
