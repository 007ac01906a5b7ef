#!/usr/bin/env bash
# A pull request's report in Markdown: what the checked-out tree changes against BASE. It needs git history and the small
# files that git holds; no data, no DVC remote, no GitHub.
#
#   uv run scripts/pr_report.sh BASE [PLOT.png] > report.md
#
# PLOT.png gets accuracy against size of both revisions. A comment on GitHub cannot hold a file, so the workflow uploads
# the plot as an artifact and links to it; an image inside the comment would need a branch that every run may write to.
set -euo pipefail

stop() {
    echo "error: $*" >&2
    exit 2
}

table() { # a Markdown table from dvc, or a sentence when it has no row
    local rows
    rows=$("$@") || stop "$* failed"
    if [ "$(grep -c '^|' <<<"$rows")" -gt 2 ]; then
        printf '%s\n' "$rows"
    else
        echo "No change."
    fi
}

[ $# -ge 1 ] && [ $# -le 2 ] || stop "usage: pr_report.sh BASE [PLOT.png]"
base=$1 plot=${2:-}
top=$(git rev-parse --show-toplevel 2>/dev/null) || stop "not inside a git repository"
case $plot in '' | /*) ;; *) plot=$PWD/$plot ;; esac
cd "$top"
git rev-parse --quiet --verify "$base^{commit}" >/dev/null ||
    stop "$base is no revision here; a shallow clone needs: git fetch --depth=1 origin BRANCH"

if [ -n "$plot" ]; then
    dvc plots diff "$base" --targets 'Accuracy against size' --show-vega |
        python -c 'import sys, vl_convert; sys.stdout.buffer.write(vl_convert.vegalite_to_png(sys.stdin.read(), scale=2))' >"$plot" ||
        stop "the plot was not drawn"
fi

metrics=$(table dvc metrics diff "$base" --md --no-path --precision 4)
params=$(table dvc params diff "$base" --targets params.yaml --md --no-path)
# Stale results are a finding of the report, not a failure of it.
results=$(python -m deepcompress.stale 2>&1) || true

cat <<REPORT
## Results against \`$base\`

### Metrics

$metrics

### Params

$params

### Do the results belong to the code?

\`\`\`
$results
\`\`\`
REPORT
