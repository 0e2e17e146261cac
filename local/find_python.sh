#!/bin/sh
# Print the path of a Python 3.12, or say in one sentence what to do. `make` calls this before it creates anything.
#   find_python.sh [NAME]   NAME is the interpreter to use; `uv` lets uv download one. Without it: the usual names.
set -u

if [ "${1:-}" = uv ]; then
  # Opt-in, because it downloads an interpreter: https://docs.astral.sh/uv/guides/install-python/
  uv=$(command -v uv) || {
    uv=.build/uv/bin/uv
    [ -x "$uv" ] || python3 -m pip install --quiet --disable-pip-version-check --target .build/uv \
      "$(grep '^uv==' requirements.txt)" >&2 || {
      echo "make: PYTHON=uv needs uv, and pip could not install it; see https://docs.astral.sh/uv/getting-started/installation/" >&2
      exit 1
    }
  }
  "$uv" python install 3.12 >&2 && exec "$uv" python find 3.12
  echo "make: uv could not install Python 3.12; install it yourself and name it: make PYTHON=/path/to/python3.12" >&2
  exit 1
fi

if [ -n "${1:-}" ]; then set -- "$1"; else set -- python3.12 python3 python; fi
reason="no $1 that runs"
for name; do
  version=$("$name" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
  [ "$version" = 3.12 ] && exec "$name" -c 'import sys; print(sys.executable)'
  reason="$name is Python $version"
done
echo "make: Python 3.12 is required ($reason): install it, name it with 'make PYTHON=/path/to/python3.12', or let uv" \
  "download it with 'make PYTHON=uv'." >&2
exit 1
