#!/usr/bin/env bash
# Makes the pages anew that are made by programs. Look at the difference before you commit it.
set -euo pipefail
cd "$(dirname "$0")/.."

for page in redb:key-value.md sqlite:sql.md; do
    cargo run -q -p decentcom-tools -- schema "${page%%:*}" --markdown > "schema-docs/${page#*:}.new"
    mv "schema-docs/${page#*:}.new" "schema-docs/${page#*:}"
done
UPDATE_SCHEMA_DOCS=1 cargo test -q -p decentcom-tools --lib the_page_about_the_format
UPDATE_SCHEMA_DOCS=1 cargo test -q -p decentcom-server --lib the_page_of_fields
