#!/usr/bin/env bash
# Makes a virtual environment with replug, editable, and its development tools; or brings one
# that is there up to date. Usage: [PYTHON=python3.12] tools/make_venv.sh FOLDER
#
# Debian and Ubuntu ship a python3 whose `venv` cannot install pip (no ensurepip): then pip comes
# from the system's pip, or else from the distribution's venv package where we may install it.
set -euo pipefail

python="${PYTHON:-python3}"
venv="${1:?usage: tools/make_venv.sh FOLDER}"

fail() {
    printf 'make venv: %s\n' "$@" >&2
    exit 1
}

command -v "$python" >/dev/null || fail "no $python here: install Python 3.11 or newer" \
    "and name it if it is not python3: make venv PYTHON=python3.12"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "replug needs Python 3.11 or newer, $python is $version" \
        "name a newer one: make venv PYTHON=python3.12"

has_pip() { "$venv/bin/python" -m pip --version >/dev/null 2>&1; }

with_ensurepip() { "$python" -m venv --clear "$venv" >/dev/null 2>&1 && has_pip; }

with_system_pip() {
    "$python" -m pip --version >/dev/null 2>&1 || return 1
    "$python" -m venv --clear --without-pip "$venv" || return 1
    "$python" -m pip --python "$venv/bin/python" install --quiet \
        --disable-pip-version-check pip && has_pip
}

with_distribution_package() {
    local root=()
    command -v apt-get >/dev/null || return 1
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null && sudo -n true 2>/dev/null || return 1
        root=(sudo -n)
    fi
    echo "make venv: installing python$version-venv"
    "${root[@]}" apt-get update -qq || true # an old list may still know the package
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq "python$version-venv" >/dev/null || return 1
    with_ensurepip
}

# An environment of another Python, or one that was moved here, is made anew.
reusable() {
    [ -x "$venv/bin/python" ] && has_pip &&
        [ "$("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2], sys.prefix)')" \
            = "$version $(realpath "$venv")" ]
}

reusable || with_ensurepip || with_system_pip || with_distribution_package || {
    rm -rf "$venv"
    fail "$python can make an environment, but not put pip into it" \
        "install its venv package (Debian, Ubuntu: apt-get install python$version-venv), or pip" \
        "for $python, or name another Python: make venv PYTHON=python3.12"
}

# Warnings: setuptools tells everybody who installs editably what that means.
PYTHONWARNINGS=ignore "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --constraint constraints.txt --editable '.[dev]'
echo "$venv: replug on $("$venv/bin/python" --version)"
