//! The three shells, run with the line of the README, in a script or at a prompt in a terminal.

#![allow(dead_code, reason = "each test binary uses its part of it")]

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use super::program::{Place, Ran};

/// A shell that functions are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// All of them.
pub const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

impl Shell {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
        }
    }

    /// The line of the README.
    pub fn init(self) -> &'static str {
        match self {
            Self::Bash => "eval \"$(reconcile shell-init bash)\"",
            Self::Zsh => "eval \"$(reconcile shell-init zsh)\"",
            Self::Fish => "reconcile shell-init fish | source",
        }
    }

    /// How the last command ended.
    pub fn status(self) -> &'static str {
        if self == Self::Fish { "$status" } else { "$?" }
    }

    /// All arguments of a script, each a word.
    pub fn all(self) -> &'static str {
        if self == Self::Fish { "$argv" } else { "\"$@\"" }
    }

    /// Whether `name` is a function: 0.
    pub fn is_function(self, name: &str) -> String {
        match self {
            Self::Fish => format!("functions -q {name}"),
            _ => format!("typeset -f {name} > /dev/null"),
        }
    }

    /// The file that it reads when somebody gets a prompt.
    pub fn start_file(self, place: &Place) -> PathBuf {
        let config = place.variables.get("XDG_CONFIG_HOME").map(PathBuf::from);
        match self {
            Self::Bash => place.home.join(".bashrc"),
            Self::Zsh => place.home.join(".zshrc"),
            Self::Fish => config.unwrap_or_else(|| place.home.join(".config")).join("fish/config.fish"),
        }
    }

    /// `script`, as it stands, with these arguments.
    pub fn command<S: AsRef<OsStr>>(self, place: &Place, script: &str, arguments: &[S]) -> Command {
        let mut command = place.command(self.name());
        command.args(["-c", script]);
        if self != Self::Fish {
            command.arg(self.name());
        }
        command.args(arguments);
        command
    }

    /// Runs `script` behind the line of the README.
    pub fn run(self, place: &Place, script: &str) -> Result<Ran, Failed> {
        self.run_with(place, script, &[] as &[&str])
    }

    /// The same, with arguments.
    pub fn run_with<S: AsRef<OsStr>>(self, place: &Place, script: &str, arguments: &[S]) -> Result<Ran, Failed> {
        Ok(self.command(place, &format!("{}\n{script}", self.init()), arguments).output()?.into())
    }
}

/// Somebody at the prompt of a shell that has read its start file.
pub struct Prompt<'p> {
    place: &'p Place,
    shell: Shell,
    pid: String,
}

impl<'p> Prompt<'p> {
    /// Starts it; the start file has `lines`.
    pub fn start(place: &'p Place, shell: Shell, lines: &str) -> Result<Self, Failed> {
        let start_file = shell.start_file(place);
        fs::create_dir_all(start_file.parent().ok_or("a directory")?)?;
        fs::write(start_file, lines)?;
        let mut prompt = Self { place, shell, pid: String::new() };
        let start = ["-f", "/dev/null", "new-session", "-d", "-x", "150", "-y", "40", shell.name()];
        prompt.tmux(&start)?;
        prompt.pid = prompt.tmux(&["display-message", "-p", "#{pane_pid}"])?.out.trim().to_owned();
        // The shell is there when a line has been carried out.
        prompt.line("echo up > $HOME/up")?;
        prompt.read("up")?;
        Ok(prompt)
    }

    fn tmux(&self, arguments: &[&str]) -> Result<Ran, Failed> {
        let mut command = self.place.command("tmux");
        command.args(["-L", "prompt"]).args(arguments).env("TMUX_TMPDIR", &self.place.home).env("LANG", "C.UTF-8");
        Ran::from(command.output()?).ended(0)
    }

    /// Types a line.
    pub fn line(&self, line: &str) -> Result<(), Failed> {
        self.typed(line)?;
        self.key("Enter")
    }

    /// Types without an end.
    pub fn typed(&self, text: &str) -> Result<(), Failed> {
        self.tmux(&["send-keys", "-l", text]).map(drop)
    }

    /// Presses a key, such as `C-c`.
    pub fn key(&self, key: &str) -> Result<(), Failed> {
        self.tmux(&["send-keys", key]).map(drop)
    }

    /// What is on the screen.
    pub fn screen(&self) -> Result<String, Failed> {
        Ok(self.tmux(&["capture-pane", "-p"])?.out)
    }

    /// Waits for a file of the home directory that ends in a line break, and takes it away.
    pub fn read(&self, name: &str) -> Result<String, Failed> {
        let path = self.place.home.join(name);
        let mut text = String::new();
        let there = until(|| {
            text = fs::read_to_string(&path).unwrap_or_default();
            text.ends_with('\n')
        });
        if let Err(error) = there {
            return Err(format!("{name}: {error:?}\n{}", self.screen()?).into());
        }
        fs::remove_file(path)?;
        Ok(text)
    }

    /// Types a line, and then one that tells how it ended.
    pub fn code_of(&self, line: &str) -> Result<String, Failed> {
        self.line(line)?;
        self.code()
    }

    /// How the last line ended.
    pub fn code(&self) -> Result<String, Failed> {
        self.line(&format!("echo {} > $HOME/code", self.shell.status()))?;
        Ok(self.read("code")?.trim().to_owned())
    }

    /// The state letter of a process, as in `/proc/PID/stat`, once it is `wanted`.
    pub fn reaches(&self, pid: &str, wanted: char) -> Result<(), Failed> {
        let state = || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next())
        };
        let reached = until(|| state() == Some(wanted));
        let screen = self.screen()?;
        reached.map_err(|_| format!("{pid} is {:?}, not {wanted}:\n{screen}", state()).into())
    }

    /// Waits until a process is gone.
    pub fn gone(&self, pid: &str) -> Result<(), Failed> {
        until(|| !PathBuf::from(format!("/proc/{pid}")).exists())
    }
}

impl Drop for Prompt<'_> {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]);
        // What it writes at its end would outlive the directory.
        let _ = self.gone(&self.pid);
    }
}

/// Waits for something that is sure to come.
pub fn until(mut done: impl FnMut() -> bool) -> Result<(), Failed> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        if Instant::now() > deadline {
            return Err("it never came to it".into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
