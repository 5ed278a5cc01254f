//! The database's files, as they lie on disk.

use std::{fs, path::Path};

use decentcom_server::storage::{
    Backend,
    inspect::{Finding, verify_file},
};

/// What verification finds in a copy of the files below `directory`, which no server has open.
pub(crate) fn verify_copy(directory: &Path, backend: &str) -> Vec<Finding> {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(directory.join("data")).unwrap() {
        let entry = entry.unwrap();
        let (path, is_file) = (entry.path(), entry.file_type().unwrap().is_file());
        let name = path.file_name().unwrap();
        if is_file && !name.to_string_lossy().ends_with("-shm") {
            fs::copy(&path, copy.path().join(name)).unwrap();
        }
    }
    let path = copy.path().join(format!("decentcom.{backend}"));
    let mut findings = Vec::new();
    let backend = if backend == "redb" { Backend::Redb } else { Backend::Sqlite };
    verify_file(backend, &path, |finding| findings.push(finding)).unwrap();
    findings
}
