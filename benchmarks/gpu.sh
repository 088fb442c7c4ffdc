#!/usr/bin/env bash
# The rows of docs/REPORTS.md that need a GPU, in at most ten minutes on one, without a network.
#
#   benchmarks/gpu.sh prepare tiny-imagenet-40.zip   # here: pieces of at most 60 MB in .cache/gpu
#   benchmarks/gpu.sh run                            # there: .cache/gpu/results/<row>.json
#   benchmarks/gpu.sh table                          # here: Markdown for docs/REPORTS.md
#
# There: Linux on x86-64 with Python 3.12, PyTorch, torchvision and NumPy; this folder, and the
# pieces in .cache/gpu. PYTHON_VERSION=3.13 prepares for another version, and GPU_FOLDER
# is another folder than .cache/gpu. "run --tiny" is for a try without a GPU.
set -euo pipefail
shopt -s nullglob
cd "$(dirname "$0")/.."
folder=${GPU_FOLDER:-.cache/gpu}
python=${PYTHON:-python3}
action=${1:?prepare, run or table}
shift
export PYTHONPATH="src:benchmarks${PYTHONPATH:+:$PYTHONPATH}"
case $action in
  prepare)
    mkdir -p "$folder/pieces" "$folder/wheels"
    # What the library imports beside PyTorch, torchvision and NumPy, with what that imports.
    grep -iE "^($(paste -sd'|' benchmarks/gpu/wheels.txt))==" requirements.lock \
      > "$folder/requirements.txt"
    "$python" -m pip download --quiet --no-deps --only-binary=:all: --dest "$folder/wheels" \
      --python-version "${PYTHON_VERSION:-3.12}" --platform manylinux_2_28_x86_64 \
      --platform manylinux_2_27_x86_64 --platform manylinux2014_x86_64 --platform any \
      --requirement "$folder/requirements.txt"
    cp "${1:?the archive of images}" "$folder/images.zip"
    tar -C "$folder" -c images.zip wheels | split -b 57M - "$folder/pieces/pack."
    ls -l "$folder/pieces"
    ;;
  run)
    mkdir -p "$folder/site"
    [ -e "$folder/images.zip" ] || cat "$folder"/pieces/pack.* | tar -C "$folder" -x
    for wheel in "$folder"/wheels/*.whl; do
      "$python" -m zipfile -e "$wheel" "$folder/site"
    done
    export PYTHONPATH="$PYTHONPATH:$(cd "$folder/site" && pwd)"
    exec "$python" benchmarks/gpu/rows.py run "$folder" "$@"
    ;;
  table)
    exec "$python" benchmarks/gpu/rows.py table "$folder" "$@"
    ;;
esac
