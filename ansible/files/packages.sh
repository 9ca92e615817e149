#!/bin/sh
# A line for each package that is installed: "manual NAME", or "auto NAME" for one that is only there because another
# one needed it (apt removes it with the last of them).
set -eu

states=/var/lib/apt/extended_states
[ -e "$states" ] || states=/dev/null
dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' | awk '
    FILENAME != "-" && $1 == "Package:" { name = $2 }
    FILENAME != "-" && $1 == "Auto-Installed:" && $2 == 1 { auto[name] }
    FILENAME == "-" && $1 == "installed" { print ($2 in auto ? "auto" : "manual"), $2 }
' "$states" -
