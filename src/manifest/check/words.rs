//! Names that a secret must not be given: what shells keep for themselves, and variables by which programs are made to
//! run, load or trust something else.

/// Builtins and words of bash, zsh and fish: a function of such a name would take it away from every script.
const OF_SHELLS: &str = "_ abbr alias always and argparse autoload begin bg bind bindkey block break breakpoint builtin bye \
    caller case cd chdir command commandline compadd comparguments compcall compctl compdescribe \
    compfiles compgen compgroups complete compopt compquote compset comptags comptry compvalues contains \
    continue coproc count declare dirs disable disown do done echo echotc echoti elif else emit emulate \
    enable end esac eval exec exit export false fc fg fi fish float for foreach function functions getln \
    getopts hash help history if in integer jobs kill let limit local log logout mapfile math nocorrect \
    noglob not or path popd print printf private pushd pushln pwd r random read readarray readonly \
    realpath rehash repeat return sched select set set_color setopt shift shopt source status string \
    suspend switch test then time times trap true ttyctl type typeset ulimit umask unalias unfunction \
    unhash unlimit unset unsetopt until vared wait whence where which while zcompile zformat zle \
    zmodload zparseopts zregexparse zsocket zstyle ztcp ztie zuntie";

/// What secrets come through, or what would pass them on to everything.
const OF_DELIVERY: &str = "bash bw dash doas env fish ksh nu rbw rbw-agent reconcile sh ssh sudo su zsh";

/// Functions that shells call by themselves, at a prompt or when a command is not found.
const CALLED_BY_SHELLS: &str = "chpwd command_not_found_handle command_not_found_handler periodic precmd preexec zshaddhistory \
    zshexit zsh_directory_name";

/// The same, and what completions and our own functions are called.
const CALLED_BY_SHELLS_PREFIXES: &str = "TRAP __ fish_";

/// Variables that make a program run, load or trust something else, and those that shells set themselves.
const DANGEROUS: &str = "ALL_PROXY BASH BASHOPTS BASHPID BASH_ENV BROWSER CDPATH CLASSPATH COLUMNS CURL_CA_BUNDLE \
    DBUS_SESSION_BUS_ADDRESS DBUS_SYSTEM_BUS_ADDRESS DISPLAY EDITOR ENV EUID FIGNORE FPATH GCONV_PATH \
    GEM_HOME GEM_PATH GLOBIGNORE GOFLAGS GOPROXY HISTFILE HOME HOSTALIASES HTTPS_PROXY HTTP_PROXY IFS \
    INPUTRC JAVA_TOOL_OPTIONS JDK_JAVA_OPTIONS LANG LANGUAGE LESSCLOSE LESSOPEN LINES LOCALDOMAIN LOCPATH \
    LOGNAME LUA_CPATH LUA_INIT LUA_PATH MAIL MAILCHECK MAILPATH MANPAGER NLSPATH NODE_EXTRA_CA_CERTS \
    NODE_OPTIONS NODE_PATH NODE_REPL_EXTERNAL_MODULE NO_PROXY OLDPWD OPTARG OPTIND PAGER PATH PERL5DB \
    PERL5LIB PERL5OPT POSIXLY_CORRECT PPID PROMPT PROMPT_COMMAND PS0 PS1 PS2 PS3 PS4 PWD PYTHONBREAKPOINT \
    PYTHONEXECUTABLE PYTHONHOME PYTHONINSPECT PYTHONPATH PYTHONSTARTUP PYTHONUSERBASE RANDOM REPLY \
    REQUESTS_CA_BUNDLE RES_OPTIONS RPROMPT RUBYLIB RUBYOPT RUBYPATH RUBYSHELL RUSTC_WRAPPER RUSTFLAGS \
    SECONDS SHELL SHELLOPTS SSL_CERT_DIR SSL_CERT_FILE SUDO_ASKPASS TERM TERMCAP TERMINFO TERMINFO_DIRS \
    TMPDIR TZDIR UID USER VISUAL WAYLAND_DISPLAY ZDOTDIR _JAVA_OPTIONS all_proxy http_proxy https_proxy \
    no_proxy";

const DANGEROUS_PREFIXES: &str =
    "BASH_ DYLD_ FISH_ GIT_ LC_ LD_ MALLOC_ NIX_ NPM_CONFIG_ RECONCILE_ SSH_ SUDO_ SYSTEMD_ XDG_ ZSH_";

/// Whether a command of this name cannot be given a secret.
pub(super) fn is_reserved_command(name: &str) -> bool {
    [OF_SHELLS, OF_DELIVERY, CALLED_BY_SHELLS]
        .iter()
        .flat_map(|words| words.split_whitespace())
        .any(|word| word == name)
        || CALLED_BY_SHELLS_PREFIXES.split_whitespace().any(|prefix| name.starts_with(prefix))
}

/// Whether a variable of this name cannot carry a secret.
pub(super) fn is_dangerous_variable(name: &str) -> bool {
    DANGEROUS.split_whitespace().any(|word| word == name)
        || DANGEROUS_PREFIXES.split_whitespace().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_take_their_tokens_from_is_free() {
        let variables = "GITHUB_TOKEN OPENAI_API_KEY AWS_SECRET_ACCESS_KEY CLAUDE_CODE_OAUTH_TOKEN AMP_API_KEY PGPASSWORD \
            NPM_TOKEN RESTIC_PASSWORD VAULT_TOKEN GITLAB_TOKEN LDAP_PASSWORD";
        let taken: Vec<&str> = variables.split_whitespace().filter(|name| is_dangerous_variable(name)).collect();
        assert_eq!(taken, [] as [&str; 0]);
        let commands = "gh codex claude amp copilot psql restic terraform git-lfs aws kubectl docker glab";
        let taken: Vec<&str> = commands.split_whitespace().filter(|name| is_reserved_command(name)).collect();
        assert_eq!(taken, [] as [&str; 0]);
    }

    #[test]
    fn what_would_run_or_load_something_else_is_not() {
        for name in "PATH LD_PRELOAD DYLD_INSERT_LIBRARIES BASH_ENV NODE_OPTIONS IFS".split_whitespace() {
            assert!(is_dangerous_variable(name), "{name}");
        }
        for name in
            "cd eval set zsh rbw abbr vared print precmd TRAPINT fish_prompt __reconcile_forget".split_whitespace()
        {
            assert!(is_reserved_command(name), "{name}");
        }
    }
}
