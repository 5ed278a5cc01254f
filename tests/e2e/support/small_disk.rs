//! A real file system that is soon full.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::{PROGRAM, Server, prepared};

/// A file system of a few MiB in memory, in a mount namespace of its own: it is gone when this is, whatever happens.
pub(crate) struct SmallDisk {
    /// Keeps the namespace; ends when its input does.
    holder: Child,
    /// How others enter it.
    enter: Vec<String>,
    /// Where it is mounted.
    place: tempfile::TempDir,
}

impl SmallDisk {
    /// A disk of `size` bytes.
    pub(crate) fn of(size: usize) -> Self {
        Self::with(&format!("size={size}"))
    }

    /// A disk with these mount options of tmpfs.
    pub(crate) fn with(options: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        // Who may not mount may do so as root of a user namespace, where those are allowed.
        for (namespaces, enter) in [("-m", &["-m"][..]), ("-rm", &["-U", "-m", "--preserve-credentials"])] {
            let script = r#"mount -t tmpfs -o "$1" tmpfs "$0" && echo mounted && exec cat"#;
            let mut command = Command::new("unshare");
            command.arg(namespaces).args(["sh", "-c", script]).arg(place.path()).arg(options);
            let mut holder =
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("unshare is installed");
            let mut line = String::new();
            BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
            if line == "mounted\n" {
                eprintln!("a tmpfs with {options}, by `unshare {namespaces}`");
                let target = ["-t".to_owned(), holder.id().to_string()];
                let enter = target.into_iter().chain(enter.iter().map(ToString::to_string)).collect();
                return Self { holder, enter, place };
            }
            let _ = holder.wait();
        }
        panic!("this test needs to mount a small file system, as root or in a user namespace, and may do neither");
    }

    /// The disk as other processes see it.
    pub(crate) fn root(&self) -> PathBuf {
        let inside = self.place.path().strip_prefix("/").unwrap();
        Path::new("/proc").join(self.holder.id().to_string()).join("root").join(inside)
    }

    /// Starts the built server on this disk; what it answers if it stops instead.
    pub(crate) fn try_start(&self, backend: &str, settings: &[(&str, &str)]) -> Result<Server, String> {
        self.try_start_after("true", backend, settings)
    }

    /// The same, after a shell ran this.
    pub(crate) fn try_start_after(
        &self,
        first: &str,
        backend: &str,
        settings: &[(&str, &str)],
    ) -> Result<Server, String> {
        Server::launch(self.program(first, settings), backend)
    }

    /// Starts the built server on this disk, without waiting for anything.
    pub(crate) fn spawn(&self, settings: &[(&str, &str)]) -> Child {
        self.program("true", settings).spawn().unwrap()
    }

    fn program(&self, first: &str, settings: &[(&str, &str)]) -> Command {
        let mut command = prepared(Command::new("nsenter"));
        let script = format!(r#"cd "$0" && {first} && exec "$1""#);
        command.args(&self.enter).args(["sh", "-c", &script]).arg(self.place.path()).arg(PROGRAM);
        command.envs(settings.iter().copied());
        command
    }

    /// Takes this much space.
    pub(crate) fn add_ballast(&self, bytes: usize) {
        fs::write(self.root().join("ballast"), vec![1; bytes]).unwrap();
    }

    /// Takes all the space there is, to the last byte.
    pub(crate) fn fill(&self) {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.root().join("ballast")).unwrap();
        for size in [64 * 1024, 4096, 512, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
    }

    /// Bytes that are free.
    pub(crate) fn free(&self) -> u64 {
        let disk = rustix::fs::statvfs(self.root()).unwrap();
        disk.f_bavail * disk.f_frsize
    }

    /// Gives it back.
    pub(crate) fn drop_ballast(&self) {
        fs::remove_file(self.root().join("ballast")).unwrap();
    }
}

/// The built program, to run in `directory`, with `from` mounted on `to` as well; nobody else sees that.
pub(crate) fn with_bind_mount(directory: &Path, from: &Path, to: &Path) -> Command {
    let may = |namespaces| Command::new("unshare").args([namespaces, "true"]).status().is_ok_and(|it| it.success());
    let namespaces = if may("-m") { "-m" } else { "-rm" };
    let mut command = prepared(Command::new("unshare"));
    command.args([namespaces, "sh", "-c", r#"mount --bind "$0" "$1" && exec "$2""#]).args([from, to]).arg(PROGRAM);
    command.current_dir(directory);
    command
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
