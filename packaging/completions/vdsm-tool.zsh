#compdef vdsm-tool
# Written by packaging/manuals.py from the parser. Change that.
_vdsm-tool() {
    local path_= values=" --config --output --plugins --timeout " i
    local known="|config|config check|config show|config docs|docs|plugin|plugin list|plugin show|plugin enable|plugin disable|plugin new|reload|schema|token|"
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
        '') offers=('config:the configuration' 'docs:write the reference pages' 'plugin:look at plugins, switch them on and off, begin a new one' 'reload:let the running daemon apply its configuration, and tell the outcome' 'schema:print every verb with JSON Schemas of its types, as JSON' 'token:make a bearer token' '--version:print the version, and end' '--config:read this file instead of the default ones; or this folder'\''s vdsm.toml and conf.d' '--help:tell what there is') ;;
        'config') offers=('check:tell whether the daemon would accept it' 'show:print what holds, defaults included, and which file says so' 'docs:print every option with its type, unit, default and meaning' '--help:tell what there is') ;;
        'config check') offers=('--config:read this file instead of the default ones; or this folder'\''s vdsm.toml and conf.d' '--help:tell what there is') ;;
        'config show') offers=('--config:read this file instead of the default ones; or this folder'\''s vdsm.toml and conf.d' '--help:tell what there is') ;;
        'config docs') offers=('--config:read this file instead of the default ones; or this folder'\''s vdsm.toml and conf.d' '--help:tell what there is') ;;
        'docs') offers=('--output:where they go' '--plugins:of these plugins only' '--help:tell what there is') ;;
        'plugin') offers=('list:every installed plugin, whether it can be used, and whether it runs' 'show:one plugin\: where it is from, its state, verbs and options' 'enable:switch a plugin on, also in the running daemon' 'disable:switch a plugin off, also in the running daemon' 'new:write the beginning of a plugin, with its tests' '--help:tell what there is') ;;
        'plugin list') offers=('--config:read this file instead of the default ones; or this folder'\''s vdsm.toml and conf.d' '--help:tell what there is') ;;
        'plugin show') offers=('--config:read this file instead of the default ones; or this folder'\''s vdsm.toml and conf.d' '--help:tell what there is' ${(f)"$(vdsm-tool plugin list 2>/dev/null | awk 'NR > 1 { print $1 }')"}) ;;
        'plugin enable') offers=('--config:read this file instead of the default ones; or this folder'\''s vdsm.toml and conf.d' '--no-reload:only write the file' '--timeout:wait for the daemon so long (60)' '--help:tell what there is' ${(f)"$(vdsm-tool plugin list 2>/dev/null | awk 'NR > 1 { print $1 }')"}) ;;
        'plugin disable') offers=('--config:read this file instead of the default ones; or this folder'\''s vdsm.toml and conf.d' '--no-reload:only write the file' '--timeout:wait for the daemon so long (60)' '--help:tell what there is' ${(f)"$(vdsm-tool plugin list 2>/dev/null | awk 'NR > 1 { print $1 }')"}) ;;
        'plugin new') offers=('--output:where; default\: here' '--help:tell what there is') ;;
        'reload') offers=('--config:read this file instead of the default ones; or this folder'\''s vdsm.toml and conf.d' '--timeout:wait for the daemon so long (60)' '--help:tell what there is') ;;
        'schema') offers=('--config:read this file instead of the default ones; or this folder'\''s vdsm.toml and conf.d' '--help:tell what there is') ;;
        'token') offers=('monitor:' 'operator:' 'admin:' '--help:tell what there is') ;;
    esac
    _describe -t words word offers
}
if [[ $funcstack[1] == _vdsm-tool ]]; then
    _vdsm-tool "$@"
else
    compdef _vdsm-tool vdsm-tool
fi
