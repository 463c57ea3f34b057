#compdef vdsmsh
# zsh completion of vdsmsh; load it with: source <(vdsmsh complete --shell zsh)
_vdsmsh() {
    local line="${(j: :)${(@q)words[1,CURRENT-1]}} ${words[CURRENT]}" text about
    local -a texts shown
    while IFS=$'\t' read -r text about; do
        texts+=("$text")
        shown+=("$text${about:+ -- $about}")
    done < <("${words[1]}" __complete zsh "$line" 2>/dev/null)
    if (( ${#texts} )); then
        compadd -l -d shown -a texts
    else
        _files
    fi
}
if [[ $funcstack[1] == _vdsmsh ]]; then
    _vdsmsh "$@"
else
    compdef _vdsmsh vdsmsh
fi
