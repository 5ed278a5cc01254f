//! A disk below the built server: a library put in front of the C library logs what the server does to its files, with
//! contents and in order, and makes calls fail when told to. It is `tests/preload/`, compiled here.

mod faults;
mod log;
mod power;

use std::{
    fs::{self, File},
    path::PathBuf,
};

use tempfile::TempDir;

pub(crate) use self::{
    faults::{Call, Fault},
    log::Record,
    power::{Dice, Image, Loss, PowerModel},
};
use super::Server;

/// A directory to run servers in, and what they did to it.
pub(crate) struct Disk {
    directory: TempDir,
    /// What the directory held before the first server.
    before: PowerModel,
}

impl Disk {
    /// An empty disk.
    pub(crate) fn empty() -> Self {
        Self::holding(&Image::default())
    }

    /// A disk that holds `image`, all of it synced.
    pub(crate) fn holding(image: &Image) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        fs::create_dir(&root).unwrap();
        image.write_to(&root);
        File::create(directory.path().join("log")).unwrap();
        faults::create(&directory.path().join("faults"));
        Self { directory, before: PowerModel::of(&root) }
    }

    /// Where servers run; their data is below it.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("root").canonicalize().unwrap()
    }

    /// Starts the built server on this disk; what it answers if it stops instead.
    pub(crate) fn try_start(&self, backend: &str, settings: &[(&str, &str)]) -> Result<Server, String> {
        let mut command = super::program(&self.root());
        command.envs([("LD_PRELOAD", super::preload::disk()), ("DISK_ROOT", &self.root())]);
        command.envs([("DISK_LOG", self.directory.path().join("log")), ("DISK_FAULTS", self.fault_file())]);
        command.envs(settings.iter().copied());
        Server::launch(command, backend)
    }

    /// The same, for starts that must succeed.
    pub(crate) fn start(&self, backend: &str, settings: &[(&str, &str)]) -> Server {
        self.try_start(backend, settings).unwrap_or_else(|log| panic!("the server did not start:\n{log}"))
    }

    /// How far the log has come. Taken after an answer, every call that led to the answer lies before it.
    pub(crate) fn position(&self) -> u64 {
        fs::metadata(self.directory.path().join("log")).unwrap().len()
    }

    /// What the servers did so far.
    pub(crate) fn records(&self) -> Vec<Record> {
        log::read(&self.directory.path().join("log"))
    }

    /// What was there before that, to replay records on.
    pub(crate) fn before(&self) -> PowerModel {
        self.before.clone()
    }

    fn fault_file(&self) -> PathBuf {
        self.directory.path().join("faults")
    }
}
