//! Completion for shells.

use clap::CommandFactory;
use clap_complete::{Generator, shells};

use crate::cli::Cli;
use crate::cli::values::Shell;

pub(crate) fn script(shell: Shell) -> String {
    match shell {
        Shell::Bash => format!("{}{BASH}", generated(shells::Bash)),
        Shell::Zsh => generated(shells::Zsh),
        Shell::Fish => generated(shells::Fish),
    }
}

fn generated(shell: impl Generator) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "kvmctl", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// What only this host knows: ids come from the record, which can be read while an agent owns it, and bridges
/// from the kernel.
const BASH: &str = r#"
_kvmctl_devices()
{
    local i runtime=$KVMCTL_RUNTIME
    for ((i = 1; i < COMP_CWORD; i++)); do
        [ "${COMP_WORDS[i]}" != --runtime ] || runtime=${COMP_WORDS[i + 1]}
    done
    [ -z "$runtime" ] ||
        env -u KVMCTL_SOCKET "${COMP_WORDS[0]}" --runtime "$runtime" list --plain 2>/dev/null | sed -n '2,$s/ .*//p'
}
_kvmctl_on_this_host()
{
    local i cur=${COMP_WORDS[COMP_CWORD]} command= words=
    _kvmctl "$@"
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        accept|change-media|del|disk-limits|eject|link|list|move|resize) command=${COMP_WORDS[i]} ;;
        esac
    done
    case $3 in
    --bridge) COMPREPLY=($(compgen -W "$(ls /sys/class/net 2>/dev/null)" -- "$cur")) && return ;;
    --*) [ "$3" = --json ] || [ "$3" = --plain ] || [ "$3" = --verbose ] || return 0 ;;
    esac
    [ -z "$command" ] || words=$(_kvmctl_devices)
    [ "$command" != move ] || words+=" $(ls /sys/class/net 2>/dev/null)"
    [ -z "$words" ] || [ "${cur:0:1}" = - ] || COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -F _kvmctl_on_this_host -o bashdefault -o default kvmctl
"#;
