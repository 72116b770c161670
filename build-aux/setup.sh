#!/usr/bin/env bash
# Makes the virtual environment. Debian splits Python into packages; what is missing is installed when that is possible,
# and named when it is not.
set -euo pipefail
: "${PYTHON:=python3}" "${VENV:=.venv}"

die() { printf 'setup: %s\n' "$1" >&2; exit 3; }

command -v "$PYTHON" >/dev/null || die "no $PYTHON on PATH. Install Python 3.11 or newer (apt-get install python3)."
minor=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
"$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' ||
    die "$PYTHON is Python $minor; 3.11 to 3.13 is needed. Name another one with: make PYTHON=python3.11 ..."

debian() {
    # Installs Debian packages where we may; otherwise says which are missing.
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "setup: installing $* with apt-get"
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y "$@"; } >build/apt.log 2>&1 ||
            { tail -5 build/apt.log >&2; die "apt-get install $* failed (log in build/apt.log)."; }
    else
        die "missing Debian packages: $*. Install them as root: apt-get install $*"
    fi
}

mkdir -p build
"$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || debian "python$minor-venv"
# Triton's Python stub links this library; a Python built without it does not bring it along.
libraries=$(ldconfig -p)
grep -q "libpython$minor.so.1.0" <<<"$libraries" || debian "libpython$minor"

if command -v uv >/dev/null; then
    UV=uv
else
    [ -x build/bootstrap/bin/uv ] || { "$PYTHON" -m venv build/bootstrap && build/bootstrap/bin/pip install -q "uv>=0.9"; }
    UV=build/bootstrap/bin/uv
fi

# One install at a time: two makes in one folder would undo each other's work.
exec 9>build/setup.lock
flock 9
[ -x "$VENV/bin/python" ] || "$UV" venv -q --python "$(command -v "$PYTHON")" "$VENV"
echo "setup: installing dependencies into $VENV (torch and its CUDA parts are about 6 GB; a few minutes the first time)"
VIRTUAL_ENV="$PWD/$VENV" "$UV" pip sync -q --require-hashes requirements/dev.txt
VIRTUAL_ENV="$PWD/$VENV" "$UV" pip install -q --no-deps -e .
