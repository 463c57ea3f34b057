# bash completion of vdsmsh; load it with: source <(vdsmsh complete --shell bash)
_vdsmsh() {
    local line=${COMP_LINE:0:COMP_POINT} word=${COMP_WORDS[COMP_CWORD]} candidate
    COMPREPLY=()
    while IFS= read -r candidate; do
        # Inside quotation marks bash takes the words as they are.
        if [[ $word == [\"\']* ]]; then
            COMPREPLY+=("$candidate")
        else
            COMPREPLY+=("$(printf '%q' "$candidate")")
        fi
    done < <("${COMP_WORDS[0]}" __complete bash "$line" 2>/dev/null)
}
complete -o default -o nosort -F _vdsmsh vdsmsh
