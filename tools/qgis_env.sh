#!/usr/bin/env bash
# Prints the shell exports with which qgis_process (or QGIS) runs this checkout in a profile of its own:
#   eval "$(make -s qgis-env)"; qgis_process run cloudremoval:removeclouds -- INPUT=... OUTPUT=...
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
home=$root/.qgis
ini=$home/profiles/default/QGIS/QGIS3.ini

mkdir -p "$home/bin" "$home/run" "$(dirname "$ini")"
chmod 700 "$home/run"

if [ ! -f "$ini" ]; then
    cat >"$ini" <<'INI'
[PythonPlugins]
cloud_removal_plugin=true
processing=true

[qgis]
checkVersion=false
showTips322=false
INI
fi

# QGIS 3.22's qgis_process script hands on an option that its own program refuses, so the program is called directly.
shim=$home/bin/qgis_process
program=$(command -v qgis_process.bin || true)
if [ -n "$program" ]; then
    printf '#!/bin/sh\nexec %q "$@"\n' "$program" >"$shim.$$"
    chmod 755 "$shim.$$"
    mv "$shim.$$" "$shim"
else
    rm -f "$shim"
fi

case ":$PATH:" in
    *":$home/bin:"*) path=$PATH ;;
    *) path=$home/bin:$PATH ;;
esac

printf 'export %s=%q\n' \
    PATH "$path" \
    QT_QPA_PLATFORM offscreen \
    QGIS_CUSTOM_CONFIG_PATH "$home" \
    QGIS_PLUGINPATH "$root" \
    XDG_RUNTIME_DIR "$home/run" \
    CLOUD_REMOVAL_PYTHON "$root/.venv/bin/python" \
    PYTHONWARNINGS ignore \
    OMP_WAIT_POLICY passive
