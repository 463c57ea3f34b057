#compdef vdsmd
# Written by packaging/manuals.py from the parser. Change that.
_vdsmd() {
    local path_= values=" --config " i
    local known="||"
    local -a offers
    for (( i = 2; i < CURRENT; i++ )); do
        if [[ $values == *" $words[i] "* ]]; then
            (( ++i ))
        elif [[ $known == *"|${path_:+$path_ }$words[i]|"* ]]; then
            path_+="${path_:+ }$words[i]"
        fi
    done
    if [[ $values == *" $words[CURRENT-1] "* ]]; then
        _files
        return
    fi
    case $path_ in
        '') offers=('--version:print the version, and end' '--config:read this file instead of the default ones; or this folder'\''s vdsm.toml and conf.d' '--help:tell what there is') ;;
    esac
    _describe -t words word offers
}
if [[ $funcstack[1] == _vdsmd ]]; then
    _vdsmd "$@"
else
    compdef _vdsmd vdsmd
fi
