#!/usr/bin/env bash
# Makes git use the hooks of this folder, in this clone and all of its worktrees. Can be run again.
# The path is relative: git looks from the top of the worktree that it runs in (git-config(1), core.hooksPath).
# Usage: githooks/install.sh [--force | --uninstall]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ ${1:-} == --uninstall ]]; then
    if [[ $(git config --local --get core.hooksPath || true) == githooks ]]; then
        git config --local --unset core.hooksPath
    fi
    echo "The hooks are not used any more."
    exit
fi

others=()
current=$(git config --get core.hooksPath || true)
if [[ -n $current && $current != githooks ]]; then
    others+=("core.hooksPath=$current")
elif [[ -z $current ]]; then
    for hook in "$(git rev-parse --git-common-dir)"/hooks/*; do
        [[ $hook == *.sample || ! -x $hook ]] || others+=("$hook")
    done
fi
if ((${#others[@]})) && [[ ${1:-} != --force ]]; then
    echo "Error: this clone has other hooks, which git would not run any more: ${others[*]}" >&2
    echo "Hint: githooks/install.sh --force" >&2
    exit 1
fi
git config --local core.hooksPath githooks
echo "git runs the hooks in githooks/: pre-commit, pre-merge-commit, pre-push."
