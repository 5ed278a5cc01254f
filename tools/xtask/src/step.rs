//! A step of a task: a command with a heading, how long it took, and its exit code.

use std::{
    env,
    ffi::OsStr,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

/// A step that did not succeed: nothing after it is done.
#[derive(Debug)]
pub(crate) struct Failed {
    /// The exit code of the whole task.
    pub(crate) code: u8,
    /// Which step it was, or what to do.
    pub(crate) why: String,
}

impl Failed {
    /// Something that this program found by itself.
    pub(crate) fn because(why: impl Into<String>) -> Self {
        Self { code: 1, why: why.into() }
    }

    /// A command that ended like this, if that is a failure.
    pub(crate) fn unless_success(heading: &str, status: ExitStatus) -> Result<(), Self> {
        if status.success() {
            return Ok(());
        }
        // Ended by a signal, it has no code.
        let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
        Err(Self { code, why: format!("{heading} ended with {status}") })
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::because(error.to_string())
    }
}

/// The steps so far.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<(String, Duration)>,
}

impl Steps {
    /// Runs a command under a heading that is the command itself.
    pub(crate) fn command(&mut self, command: &mut Command) -> Result<(), Failed> {
        let heading = shown(command);
        self.step(&heading.clone(), || {
            let status = command.status().map_err(|error| Failed::because(format!("{heading}: {error}")))?;
            Failed::unless_success(&heading, status)
        })
    }

    /// Does something under a heading.
    pub(crate) fn step(&mut self, heading: &str, does: impl FnOnce() -> Result<(), Failed>) -> Result<(), Failed> {
        say(&format!("\n== {heading}"));
        let began = Instant::now();
        let done = does();
        let took = began.elapsed();
        say(&format!("-- {}", duration(took)));
        self.done.push((heading.to_owned(), took));
        done
    }

    /// Says what all steps took, and which of them failed.
    pub(crate) fn end(&self, done: &Result<(), Failed>) {
        if self.done.len() > 1 {
            say("");
            for (heading, took) in &self.done {
                say(&format!("{:>12}  {heading}", duration(*took)));
            }
            say(&format!("{:>12}  in all", duration(self.done.iter().map(|(_, took)| *took).sum())));
        }
        if let Err(Failed { why, .. }) = done {
            let _ = writeln!(io::stderr(), "\nxtask: {why}");
        }
    }
}

/// Runs a command without a heading, where the caller stands.
pub(crate) fn run_here(command: &mut Command) -> Result<(), Failed> {
    command.current_dir(env::current_dir()?);
    let heading = shown(command);
    let status = command.status().map_err(|error| Failed::because(format!("{heading}: {error}")))?;
    Failed::unless_success(&heading, status)
}

/// A call of the cargo that this program was started by, at the root of the repository.
pub(crate) fn cargo<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(Into::into).unwrap_or_default()
}

/// Says something on stdout, after what the steps said themselves.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// A command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let set = command.get_envs().filter_map(|(name, value)| {
        let value = value?.to_string_lossy();
        let quote = if value.contains(' ') { "\"" } else { "" };
        Some(format!("{}={quote}{value}{quote}", name.to_string_lossy()))
    });
    let called = [program].into_iter().chain(command.get_args()).map(|word| word.to_string_lossy().into_owned());
    set.chain(called).collect::<Vec<_>>().join(" ")
}

/// `1.2 s`, `3 min 04 s`.
pub(crate) fn duration(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        seconds => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_fails_ends_with_the_code_of_its_command() {
        let mut steps = Steps::default();
        let failed = steps.command(Command::new("sh").args(["-c", "exit 7"])).unwrap_err();
        assert_eq!((failed.code, steps.done.len()), (7, 1));
        assert!(failed.why.contains("sh -c exit 7"), "{}", failed.why);
        let killed = steps.command(Command::new("sh").args(["-c", "kill -9 $$"])).unwrap_err();
        assert_eq!(killed.code, 1);
        assert!(steps.command(&mut Command::new("no-such-program")).unwrap_err().why.contains("no-such-program"));
        assert!(steps.command(&mut Command::new("true")).is_ok());
    }

    #[test]
    fn commands_are_shown_as_they_are_typed() {
        let mut command = Command::new("/somewhere/bin/cargo");
        command.args(["doc", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings").env_remove("OTHER");
        assert_eq!(shown(&command), "RUSTDOCFLAGS=\"-D warnings\" cargo doc --no-deps");
    }

    #[test]
    fn durations_are_short() {
        assert_eq!(duration(Duration::from_millis(1_234)), "1.2 s");
        assert_eq!(duration(Duration::from_secs(184)), "3 min 04 s");
    }

    #[test]
    fn the_root_is_that_of_the_workspace() {
        assert!(root().join("Cargo.lock").exists() && root().join(".ci/run").exists());
    }
}
