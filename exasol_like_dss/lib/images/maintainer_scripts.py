"""What maintainer scripts wait for, though nothing needs it before all packages are installed.

A folder that is first in dpkg's path holds programs in the place of others. Some run the real one in the background,
two at a time, beside dpkg, which has only one processor's work to do: byte code, certificates and locales depend on
what their package has unpacked, and not on what is configured later. Some do nothing: boot files are made once
(``boot_files``), and ssh host keys belong to a machine, which makes them when it boots for the first time.
"""

from __future__ import annotations

#: The folder, seen from inside of the root file system.
FOLDER = "/dss-later"
_BESIDE = ("compile-library", "locale-gen", "py3compile", "update-ca-certificates")
_NEVER = ("depmod", "ssh-keygen", "update-initramfs")

#: fd 8: shared lock that lasts until the real program has ended (flock(2): locks belong to the open file). fd 9: one
#: in each of two lanes. The others are debconf's and dpkg's, which wait for their ends.
_PROGRAM = f"""\
#!/bin/sh
name=${{0##*/}}
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:{FOLDER}/own
exec 8>>{FOLDER}/under-way
flock --shared 8
(
    exec 9>>{FOLDER}/lane-$(($$ % 2)) </dev/null >>{FOLDER}/output 2>&1 3>&- 4>&- 5>&- 6>&- 7>&-
    flock 9
    nice "$name" "$@" 8>&- 9>&- || echo "$name $* failed: $?" >> {FOLDER}/failed
) &
"""

#: Instead of dpkg, also for apt. Python's own packages (of 3.11 to 3.13) ask it for the files of the standard library,
#: and compile them: nearly two seconds. They are told of none, which they put up with, and it is done beside, by the
#: same call.
_DPKG = f"""\
#!/bin/sh
case "${{DPKG_MAINTSCRIPT_PACKAGE:-}} ${{DPKG_MAINTSCRIPT_NAME:-}} $*" in
    'python3.'*' postinst -L libpython3.'*) exec {FOLDER}/compile-library "$2" ;;
    *) exec /usr/bin/dpkg "$@" ;;
esac
"""
#: $1: the package with the files, such as libpython3.13-stdlib:amd64.
_COMPILE_LIBRARY = r"""#!/bin/sh
set -eu
version=${1#libpython}
version=${version%%-*}
dpkg -L "$1" | sed -n "/^\/usr\/lib\/python$version\/.*\.py$/p" | while read -r file; do
    [ ! -e "$file" ] || echo "$file"
done | xargs --no-run-if-empty "python$version" -E -S "/usr/lib/python$version/py_compile.py"
"""

#: A hook of mmdebstrap, run by sh with the root file system as ``$1``: puts the programs there.
BEGIN = f"""\
mkdir -p "$1{FOLDER}/own"
cat > "$1{FOLDER}/beside" <<'PROGRAM'
{_PROGRAM}PROGRAM
cat > "$1{FOLDER}/dpkg" <<'PROGRAM'
{_DPKG}PROGRAM
cat > "$1{FOLDER}/own/compile-library" <<'PROGRAM'
{_COMPILE_LIBRARY}PROGRAM
printf '#!/bin/sh\\nexit 0\\n' > "$1{FOLDER}/never"
chmod 755 "$1{FOLDER}/beside" "$1{FOLDER}/never" "$1{FOLDER}/dpkg" "$1{FOLDER}/own/compile-library"
for name in {" ".join(_BESIDE)}; do ln -s beside "$1{FOLDER}/$name"; done
for name in {" ".join(_NEVER)}; do ln -s never "$1{FOLDER}/$name"; done
"""

#: The same, after all packages: waits for those in the background, and fails when one of them did.
END = f"""\
exec 8>>"$1{FOLDER}/under-way"
flock 8
if [ -e "$1{FOLDER}/failed" ]; then
    cat "$1{FOLDER}/output" "$1{FOLDER}/failed" >&2
    exit 1
fi
rm -r "$1{FOLDER}"
"""
