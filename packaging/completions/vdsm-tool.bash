# Written by packaging/manuals.py from the parser. Change that.
_vdsm_tool() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} path= words= i
    local values=" --config --output --plugins --timeout "
    local known="|config|config check|config show|config docs|docs|plugin|plugin list|plugin show|plugin enable|plugin disable|plugin new|reload|schema|token|"
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
        "") words="config docs plugin reload schema token --version --config --help" ;;
        "config") words="check show docs --help" ;;
        "config check") words="--config --help" ;;
        "config show") words="--config --help" ;;
        "config docs") words="--config --help" ;;
        "docs") words="--output --plugins --help" ;;
        "plugin") words="list show enable disable new --help" ;;
        "plugin list") words="--config --help" ;;
        "plugin show") words="--config --help $(vdsm-tool plugin list 2>/dev/null | awk 'NR > 1 { print $1 }')" ;;
        "plugin enable") words="--config --no-reload --timeout --help $(vdsm-tool plugin list 2>/dev/null | awk 'NR > 1 { print $1 }')" ;;
        "plugin disable") words="--config --no-reload --timeout --help $(vdsm-tool plugin list 2>/dev/null | awk 'NR > 1 { print $1 }')" ;;
        "plugin new") words="--output --help" ;;
        "reload") words="--config --timeout --help" ;;
        "schema") words="--config --help" ;;
        "token") words="monitor operator admin --help" ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -o filenames -F _vdsm_tool vdsm-tool
