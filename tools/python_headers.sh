#!/bin/sh
# Prints CPATH=... when Python.h has to be found outside the compiler's and Python's own folders; nothing when it is in place.
# Debian's python3-venv does not bring Python.h. Where it is missing, the package that has it is downloaded and unpacked under build/,
# without installing anything. Usage: env $(tools/python_headers.sh .venv/bin/python) command
set -eu
include=$("$1" -c 'import sysconfig; print(sysconfig.get_path("include"))')
[ -e "$include/Python.h" ] && exit 0

version=$("$1" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
target=$(cd "$(dirname "$0")/.." && pwd)/build/python-headers
if [ ! -e "$target/usr/include/$version/Python.h" ]; then
    echo "Python.h is not in $include: fetching lib$version-dev into $target" >&2
    mkdir -p "$target"
    fetch() { (cd "$target" && apt-get -qq download "lib$version-dev") >&2; }
    if ! fetch; then
        apt-get -qq update >&2 || true
        fetch || { echo "error: Python.h not found: install python3-dev (apt install python3-dev)" >&2; exit 1; }
    fi
    dpkg -x "$target"/lib"$version"-dev_*.deb "$target"
fi
echo "CPATH=$target/usr/include/$version:$target/usr/include"
