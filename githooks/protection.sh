# shellcheck shell=bash
# Which branches are protected, for the hooks. To be sourced.
# The list is configurable: git config dss.protectedBranches "main release/*"   (patterns of the shell)

protected_branches() {
    git config --get dss.protectedBranches || printf '%s\n' "main master release/*"
}

# refuse_protected BRANCH HINT: ends the hook when the branch is protected.
refuse_protected() {
    local -a patterns
    local pattern
    if [[ ${DSS_ALLOW_PROTECTED_BRANCH:-} == 1 ]]; then
        return
    fi
    read -ra patterns <<<"$(protected_branches)"
    for pattern in "${patterns[@]}"; do
        # The pattern is one: no quotes.
        # shellcheck disable=SC2053
        if [[ $1 == $pattern ]]; then
            printf 'Error: the branch %s is protected.\nHint: %s If you must: DSS_ALLOW_PROTECTED_BRANCH=1\n' "$1" "$2" >&2
            exit 1
        fi
    done
}
