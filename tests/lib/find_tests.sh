# shellcheck shell=bash
# Which tests there are, and where they are written. To be sourced after common.sh, in the repository's root.

# What is written in which language; folders that are not there are left out.
existing() {
    local folder
    for folder in "$@"; do
        [ ! -e "$folder" ] || echo "$folder"
    done
}

rust_sources() {
    mapfile -t folders < <(existing src tests tools)
    find "${folders[@]}" -name '*.rs' -not -path '*/target/*' | sort
}

go_sources() {
    mapfile -t folders < <(existing examples bindings)
    # Those that need an etcd are a part of tests/run cluster.
    find "${folders[@]}" -name '*_test.go' -print0 | xargs -0r grep -L '^//go:build etcd$' | sort
}

python_sources() {
    mapfile -t folders < <(existing bindings)
    find "${folders[@]}" -path '*/tests/test_*.py' | sort
}

# folder_with NAME FILE: the nearest one above the file that has a file of this name.
folder_with() {
    local folder
    folder="$(dirname "$2")"
    while [ "$folder" != . ] && [ ! -e "$folder/$1" ]; do
        folder="$(dirname "$folder")"
    done
    echo "$folder"
}

# c_program NAME: the program that it names, whether with a machine at its end or not.
c_program() {
    local name="${1##*/}" candidate
    name="${name%.c}"
    for candidate in "$name" "${name%-pc}" "${name%-q35}"; do
        if [ -e "tests/c/$candidate.c" ]; then
            echo "$candidate"
            return
        fi
    done
}

# go_files NAME: the files that have a Go test of this name.
go_files() {
    case "$1" in
    Test* | Fuzz* | Example*) go_sources | xargs -r grep -lE "^func $1\(" || true ;;
    esac
}

# python_files NAME: the file itself, or those that have a Python test of this name.
python_files() {
    local name="${1##*/}"
    name="${name%.py}"
    case "$name" in
    test_*[!A-Za-z0-9_]* | "") return ;;
    test_*) ;;
    *) return ;;
    esac
    python_sources | grep "/$name\.py$" || python_sources | xargs -r grep -lE "^    def $name\(" || true
}

# rust_file NAME: the file itself, or one of the tests: costs, hotplug_scripted/scsi.
rust_file() {
    local file
    for file in "$1" "tests/$1.rs" "tests/$1"; do
        case "$file" in
        *.rs)
            if [ -f "$file" ]; then
                echo "$file"
                return
            fi
            ;;
        esac
    done
    find tools -path "*/tests/$1.rs" -not -path '*/target/*' | head -n 1
}

# rust_functions NAME: the files that have a test function of this name: marked as one, or named by a table
# that makes tests of its lines. One file for each test binary.
rust_functions() {
    case "$1" in
    *[!A-Za-z0-9_]* | "") return ;;
    esac
    rust_sources | xargs awk -v name="$1" '
        FNR == 1 { marked = 0; is_root = FILENAME ~ /(^|\/)tests\/[a-z_]*\.rs$/ }
        /#\[test\]/ { marked = 1 }
        marked && $0 ~ ("(^|[^a-z_])fn " name "\\(") { print FILENAME }
        is_root && $0 ~ ("^    " name ",$") { print FILENAME }
        /fn / && !/#\[test\]/ { marked = 0 }' |
        awk '{
            binary = $0
            if (match(binary, /(^|\/)tests\/[^\/.]*/) || match(binary, /(^|\/)src\//))
                binary = substr(binary, 1, RSTART + RLENGTH - 1)
            if (!(binary in seen)) { seen[binary]; print }
        }' | grep -v '^tests/support/' || true
}

# functions_in FILE: the names of all functions that are written there.
functions_in() {
    grep -oE '\bfn [a-z_0-9]+' "$1" | cut -d' ' -f2
}

# Every name that `tests/run one` knows.
all_names() {
    find tests/c -maxdepth 1 -name '*.c' -exec basename {} .c \;
    find tests -maxdepth 1 -name '*.rs' -exec basename {} .rs \;
    go_sources | xargs -r grep -hoE '^func (Test|Fuzz|Example)[A-Za-z0-9_]*' | cut -d' ' -f2
    python_sources | xargs -r grep -hoE '^    def test_[A-Za-z0-9_]*' | sed 's/^ *def //'
    rust_sources | xargs awk '
        FNR == 1 { marked = 0 }
        /#\[test\]/ { marked = 1 }
        marked && match($0, /fn [a-z_0-9]+/) { print substr($0, RSTART + 3, RLENGTH - 3); marked = 0 }
        FILENAME ~ /^tests\/[a-z_]+\.rs$/ && /^    [a-z_0-9]+,$/ { gsub(/[ ,]/, ""); print }'
}

# near_names NAME: those that have it in them, and those that differ by few letters; ten at most, the nearest
# first.
near_names() {
    all_names | sort -u | awk -v wanted="$1" '
        function least(a, b, c) { return a < b ? (a < c ? a : c) : (b < c ? b : c) }
        function distance(a, b,    i, j, above, left, now) {
            for (j = 0; j <= length(b); j++) row[j] = j
            for (i = 1; i <= length(a); i++) {
                above = row[0]; row[0] = i
                for (j = 1; j <= length(b); j++) {
                    now = least(row[j] + 1, row[j - 1] + 1, above + (substr(a, i, 1) != substr(b, j, 1)))
                    above = row[j]; row[j] = now
                }
            }
            return row[length(b)]
        }
        index($0, wanted) || (length($0) * 2 > length(wanted) && index(wanted, $0)) {
            print 0, length($0), $0
            next
        }
        {
            # Long names are seldom written to their end.
            apart = distance(length(wanted) > 7 ? substr($0, 1, length(wanted)) : $0, wanted)
            if (apart * 4 <= length(wanted)) print apart, length($0), $0
        }' | sort -n -k1,1 -k2,2 | head -n 10 | cut -d' ' -f3
}
