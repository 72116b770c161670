#!/usr/bin/env bash
# All tests but those on a real node, in two runs side by side that take about as long: those of control plane and chart, and of what providers
# do wrong, wait for most of their time, and leave one of two cores to the others. What they print comes at the end, and meanwhile into a log.
set -euo pipefail
log=build/test-beside.log
beside_paths=(
  tests/controlplane tests/chart
  tests/worker/test_faults.py tests/worker/test_bursts.py tests/worker/test_bought_crashes.py
)
mkdir -p build

echo "The tests of control plane, chart and providers' faults run beside the others; their log: $log"
pytest -m "not cluster" "${beside_paths[@]}" >"$log" 2>&1 &
beside=$!
pytest -m "not cluster" "${beside_paths[@]/#/--ignore=}" &
others=$!
# Both end in order, with the servers that they have started, whatever ends this.
trap 'kill "$beside" "$others" 2>/dev/null || true; wait' EXIT
trap 'exit 130' INT TERM

code=0
wait "$others" || code=$?
wait "$beside" || code=$?
cat "$log"
exit "$code"
