#!/usr/bin/env bash
# A pull request's report in Markdown: what the checked-out tree changes against BASE, and whether it exceeds chance.
#
#   uv run scripts/pr_report.sh BASE [PLOT.png] > report.md
#
# PLOT.png gets accuracy against size of both revisions. A comment on GitHub cannot hold a file, so the workflow uploads
# the plot as an artifact and links to it; an image inside the comment would need a branch that every run may write to.
set -euo pipefail
[ $# -ge 1 ] && [ $# -le 2 ] || { echo "error: usage: pr_report.sh BASE [PLOT.png]" >&2; exit 2; }
exec python -m deepcompress.report.pr_report "$@"
