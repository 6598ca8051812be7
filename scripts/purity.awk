# Prints `file:line: code` where a pure source names what it must not.
#
# Comments are cut away, and so is every item behind `#[cfg(test)]`: up to the line that closes
# it in the same column, or its `;`. `words` is the pattern to look for.

FNR == 1 { testing = 0; closing = ""; commented = 0 }

{
    code = $0
    if (commented) {
        if (!sub(/^.*\*\//, "", code)) next
        commented = 0
    }
    sub(/\/\/.*/, "", code)
    gsub(/\/\*([^*]|\*+[^*\/])*\*+\//, "", code)
    if (sub(/\/\*.*/, "", code)) commented = 1
}

closing != "" {
    if (index(code, closing) == 1) closing = ""
    next
}

testing {
    if (code ~ /^[ ]*$/ || code ~ /^[ ]*#\[/) next
    if (code ~ /\{[ ]*$/) {
        indent = code
        sub(/[^ ].*/, "", indent)
        closing = indent "}"
        testing = 0
    } else if (code ~ /[;}][ ]*$/) {
        testing = 0
    }
    next
}

code ~ /^[ ]*#\[cfg\(test\)\]/ { testing = 1; next }

code ~ words { printf "%s:%d: %s\n", FILENAME, FNR, $0 }
