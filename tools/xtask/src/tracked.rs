//! What must not be committed: large files, directories that programs make for themselves, and what somebody left at the top. All
//! of it was, once.

use std::{fs, path::Path, process::Command};

use crate::step::{Failed, root};

/// The largest file that may be in the repository.
const LARGEST: u64 = 1024 * 1024;
/// What is at the top, but for what begins with a dot.
const TOP: [&str; 17] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "clippy.toml",
    "decentcom.example.toml",
    "deny.toml",
    "kvstore",
    "rustfmt.toml",
    "schema-docs",
    "server",
    "tests",
    "tools",
];
/// The directories whose names begin with a dot and that people made.
const DOT_DIRECTORIES: [&str; 3] = [".cargo", ".ci", ".github"];

/// Looks at what git has, or is about to commit.
pub(crate) fn check() -> Result<(), Failed> {
    let root = root();
    let mut listing = Command::new("git");
    // Whoever runs the gate need not be who made the clone.
    listing.arg("-c").arg(format!("safe.directory={}", root.display())).args(["ls-files", "-z"]).current_dir(&root);
    let listed = listing.output().map_err(|error| Failed::because(format!("git ls-files: {error}")))?;
    if !listed.status.success() {
        let said = String::from_utf8_lossy(&listed.stderr);
        return Err(Failed::because(format!("git cannot say what is committed: {}", said.trim())));
    }
    let paths = String::from_utf8_lossy(&listed.stdout);
    let problems: Vec<_> = paths.split_terminator('\0').filter_map(|path| problem(&root, path)).collect();
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Failed::because(problems.join("\n"))),
    }
}

/// Why a file should not be in the repository.
fn problem(root: &Path, path: &str) -> Option<String> {
    let (directories, _) = path.rsplit_once('/').unwrap_or_default();
    let is_made = |directory: &&str| directory.starts_with('.') && !DOT_DIRECTORIES.contains(directory);
    if let Some(made) = directories.split('/').find(is_made) {
        return Some(format!("{path}: {made} looks like a directory that a program made; put it into .gitignore"));
    }
    let top = path.split('/').next().unwrap_or_default();
    if !top.starts_with('.') && !TOP.contains(&top) {
        return Some(format!("{path}: nothing called {top} belongs at the top; if it does, say so in tracked.rs"));
    }
    // What is deleted and not yet committed has no length.
    let length = fs::symlink_metadata(root.join(path)).map_or(0, |file| file.len());
    (length > LARGEST).then(|| format!("{path}: {length} bytes, and {LARGEST} are allowed; make it when it is needed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_files_and_directories_of_programs_are_named() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("tests")).unwrap();
        let file = |name: &str, length: u64| {
            fs::File::create(root.path().join(name)).unwrap().set_len(length).unwrap();
            name.to_owned()
        };
        assert_eq!(problem(root.path(), &file("tests/fits", LARGEST)), None);
        assert!(problem(root.path(), &file("tests/large", LARGEST + 1)).unwrap().contains("large: 1048577 bytes"));
        assert_eq!(problem(root.path(), "tests/deleted"), None);
        assert!(problem(root.path(), &file("a-package.deb", 1)).unwrap().contains("belongs at the top"));
        for fine in [".gitignore", ".ci/run", ".github/workflows/ci.yml", "tools/.cargo/config.toml"] {
            assert_eq!(problem(root.path(), fine), None);
        }
        for made in [".tmp01ERB8/store", "tests/.cache/a/b", ".cargo/.tmp/x"] {
            assert!(problem(root.path(), made).unwrap().contains(".gitignore"), "{made}");
        }
    }

    #[test]
    fn this_repository_is_as_it_should_be() {
        if let Err(Failed { why, .. }) = check() {
            panic!("{why}");
        }
    }
}
