//! The database's files, as they lie on disk.

use std::{fs, path::Path};

use decentcom_server::storage::verify::{self, Finding};

/// What verification finds in a copy of the files below `directory`, which no server has open.
pub(crate) async fn verify_copy(directory: &Path, backend: &str) -> Vec<Finding> {
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
    match backend {
        "redb" => verify::verify_redb(&path, |finding| findings.push(finding)).unwrap(),
        _ => verify::verify_sqlite(&path, |finding| findings.push(finding)).await.unwrap(),
    }
    findings
}
