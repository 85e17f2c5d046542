#!/usr/bin/env bash
# Installs what `make test-tools` needs and Python cannot bring: programs from the distribution
# where we are root and they are missing, and Mermaid's own parser and Playwright, which drives the
# distribution's Chromium and brings no browser of its own, into tests/tools/node_modules.
set -euo pipefail

node_major_min=18 # of tests/tools/package.json's dependencies

# need PROGRAM PACKAGE...: has the program, or installs the Debian packages that bring it.
need() {
    local program=$1
    shift
    command -v "$program" >/dev/null && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "test-tools: installing $*"
        apt-get update -qq || true # an old list may still know the package
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    else
        echo "test-tools: no '$program' here; install it (Debian, Ubuntu: apt-get install $*)" >&2
        exit 1
    fi
}

need dot graphviz
need spin spin
need gcc gcc libc6-dev
need node nodejs
need npm npm
need qemu-system-x86_64 qemu-system-x86 # depends on its firmware
need chromium chromium

node_major=$(node --print 'process.versions.node.split(".")[0]')
if [ "$node_major" -lt "$node_major_min" ]; then
    echo "test-tools: node is version $node_major, $node_major_min or newer is needed" >&2
    exit 1
fi

cd "$(dirname "$0")/../tests/tools"
installed=node_modules/.package-lock.json # written by npm when it has finished
if [ ! -e "$installed" ] || [ package-lock.json -nt "$installed" ]; then
    npm ci --silent --ignore-scripts
    touch "$installed"
fi
