#!/usr/bin/env bash
# Installs what the demo, the tests and the worker need: packages of the distribution, then a .venv beside them.
# What is there already is left alone, so running it again takes a fraction of a second.
# Everything it says goes to stderr: `eval "$(make -s qgis-env)"` reads stdout.
set -euo pipefail
exec 1>&2

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
system_python=/usr/bin/python3    # PyQGIS belongs to the distribution's interpreter, whatever else is on PATH
venv=$root/.venv
log=$root/build/setup.log
constraints=$root/build/constraints.txt
torch_version=2.13.0
s2cloudless_version=1.7.3

packages=(
    qgis python3-qgis                    # QGIS, qgis_process, PyQGIS
    python3-rasterio python3-scipy python3-h5py  # one GDAL, one HDF5 and one PROJ for QGIS and for us
    python3-matplotlib fonts-dejavu-core # plots of the reports, the demo's picture
    libopenblas0                         # the reference BLAS is much slower
    libgomp1                             # LightGBM's threads
    python3-venv python3-dev g++ ninja-build  # .venv and the compiled kernel
    xvfb xauth                           # one test drives the real QGIS desktop
    git ca-certificates
)

say() { printf '[setup] %s\n' "$*"; }

fail() {
    say "$1"
    [ -s "$log" ] && { say "The end of $log:"; tail -15 "$log"; }
    exit 1
}

missing_packages() {
    local name
    for name in "${packages[@]}"; do
        dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'install ok installed' || printf '%s ' "$name"
    done
}

install_packages() {
    local missing=$1 line
    line="sudo apt-get update && sudo apt-get install -y --no-install-recommends $missing"
    local -a become=()
    if [ "$(id -u)" != 0 ]; then
        if ! sudo -n true 2>/dev/null; then
            say "Packages of the distribution are missing, and installing them needs an administrator. Type this line, then run make again:"
            printf '%s\n' "$line"
            exit 1
        fi
        become=(sudo -n)
    fi
    say "Installing from the distribution: $missing"
    say "This takes 2 to 8 minutes the first time (QGIS is about 500 MB); details in $log"
    "${become[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update >>"$log" 2>&1 || say "apt-get update failed; trying with the lists that are there."
    # shellcheck disable=SC2086  # a list of words
    "${become[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        -o Dpkg::Options::=--force-confold $missing >>"$log" 2>&1 ||
        fail "apt-get could not install the packages. Try it by hand: $line"
}

pip() { "$venv/bin/python" -m pip "$@" >>"$log" 2>&1; }

installed() { # installed NAME VERSION
    "$venv/bin/python" - "$1" "$2" <<'PY' >/dev/null 2>&1
import sys
from importlib import metadata
sys.exit(metadata.version(sys.argv[1]).split("+")[0] != sys.argv[2])
PY
}

write_constraints() {
    # The distribution's SciPy, rasterio and matplotlib are built for its NumPy: stay with its major version, and with
    # that very NumPy from 2 on. A NumPy that pip must compile itself has no BLAS, and crashes in several threads.
    local theirs
    theirs=$("$system_python" -c 'import numpy; print(numpy.__version__)' 2>/dev/null || echo 1)
    cat constraints.txt >"$constraints"
    case $theirs in
        0.* | 1 | 1.*) printf 'numpy>=1.24.2,<2\n' >>"$constraints" ;;
        *) printf 'numpy==%s\n' "$theirs" >>"$constraints" ;;
    esac
}

install_torch() {
    installed torch "$torch_version" && return
    say "Installing torch $torch_version, CPU build (190 MB, about a minute)"
    # A '+cpu' build is asked for by name, because what PyPI calls $torch_version on Linux brings gigabytes of CUDA:
    # first wherever pip looks by itself, then in PyTorch's own index; plain, at last, for machines that have neither.
    pip install -c "$constraints" "torch==$torch_version+cpu" ||
        pip install -c "$constraints" --extra-index-url https://download.pytorch.org/whl/cpu "torch==$torch_version+cpu" ||
        pip install -c "$constraints" "torch==$torch_version" ||
        fail "pip could not install torch $torch_version."
}

install_venv() {
    if [ ! -x "$venv/bin/python" ]; then
        say "Making .venv on $system_python"
        "$system_python" -m venv --system-site-packages "$venv" >>"$log" 2>&1 || fail "The virtual environment could not be made."
    fi
    "$venv/bin/python" -c 'import qgis.core' 2>>"$log" ||
        fail "$venv does not see PyQGIS; remove that folder and run make again."
    write_constraints
    install_torch
    say "Installing the packages of requirements.txt (about a minute)"
    pip install -c "$constraints" -r requirements.txt || fail "pip could not install requirements.txt."
    # --no-deps: s2cloudless asks for OpenCV, shapely and the Sentinel Hub client. Only its model file is read,
    # and shapely's wheel crashes QGIS 3.22.
    installed s2cloudless "$s2cloudless_version" || pip install --no-deps "s2cloudless==$s2cloudless_version" ||
        say "s2cloudless could not be installed; cloud detection will use its rules instead."
}

link_checkout() {
    # so that `.venv/bin/python benchmarks/accuracy.py` finds the packages of this checkout from any folder
    local folder
    folder=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    printf '%s\n' "$root" >"$folder/cloud_removal_checkout.pth"
}

fingerprint() { # of everything that decides what .venv holds
    { cat requirements.txt constraints.txt tools/setup.sh; "$system_python" --version || true; } 2>/dev/null |
        sha256sum | cut -d' ' -f1
}

link_metadata() {
    # QGIS wants metadata.txt inside the plugin folder; its one source lies at the top of the repository.
    [ -L cloud_removal_plugin/metadata.txt ] || ln -sfn ../metadata.txt cloud_removal_plugin/metadata.txt
}

mkdir -p build
missing=$(missing_packages)
stamp=$venv/.complete
want=$(fingerprint)
if [ -n "$missing" ] || [ "$(cat "$stamp" 2>/dev/null)" != "$want" ]; then
    : >"$log"
    began=$SECONDS
    [ -z "$missing" ] || install_packages "$missing"
    want=$(fingerprint)
    install_venv
    link_checkout
    printf '%s\n' "$want" >"$stamp"
    say "Set-up complete after $((SECONDS - began)) s."
fi
link_metadata
