# Written by packaging/manuals.py from the parser. Change that.
_vdsmd() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} path= words= i
    local values=" --config "
    local known="||"
    for (( i = 1; i < COMP_CWORD; i++ )); do
        if [[ $values == *" ${COMP_WORDS[i]} "* ]]; then
            (( ++i ))
        elif [[ $known == *"|${path:+$path }${COMP_WORDS[i]}|"* ]]; then
            path+="${path:+ }${COMP_WORDS[i]}"
        fi
    done
    if [[ $values == *" $before "* ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        return
    fi
    case $path in
        "") words="--version --config --help" ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -o filenames -F _vdsmd vdsmd
