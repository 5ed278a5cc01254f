//! What a disk may hold after the power went.
//!
//! The model promises what POSIX does and no more: a file's bytes and length are there once it was synced, a name is
//! there (or gone) once its directory was synced, and syncing a file does nothing for its name. (ext4 promises more.)
//! Of all else, anything may be there: any of the writes, in any order, torn at sectors of 512 bytes; of the changes of
//! names in one directory, the first few, as journals keep them. What a failed sync should have written is not made
//! sure by later syncs: the system has the pages in memory and takes them for written. Unless told to be
//! [`distrustful`](PowerModel::distrustful), the model lets the next process find on disk what it reads.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::Path,
};

use super::log::{Bytes, Event};

const SECTOR: usize = 512;

/// What of the unsynced is lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Loss {
    /// All of it.
    Everything,
    /// None of it, as after SIGKILL.
    Nothing,
    /// All bytes; names are kept.
    Bytes,
    /// All names; bytes are kept.
    Names,
    /// Some writes.
    Writes,
    /// Some sectors of writes.
    Sectors,
}

impl Loss {
    pub(crate) const ALL: [Self; 6] =
        [Self::Everything, Self::Nothing, Self::Bytes, Self::Names, Self::Writes, Self::Sectors];
}

/// Pseudo-random numbers (splitmix64): the same ones for the same seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Files and directories, with contents, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Image(BTreeMap<String, Option<Vec<u8>>>);

impl Image {
    /// What is in `directory`; without SQLite's index of the log, which no crash leaves in use, and the reserve, which holds
    /// nothing.
    pub(crate) fn of(directory: &Path) -> Self {
        let mut image = Self::default();
        each_below(directory, directory, &mut |path, file| {
            image.0.insert(path, if file.is_dir() { None } else { Some(fs::read(file).unwrap()) });
        });
        image
    }

    pub(crate) fn write_to(&self, directory: &Path) {
        for (path, bytes) in &self.0 {
            match bytes {
                None => fs::create_dir(directory.join(path)).unwrap(),
                Some(bytes) => fs::write(directory.join(path), bytes).unwrap(),
            }
        }
    }

    /// Where the two differ.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let paths: std::collections::BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        paths.into_iter().filter(|path| self.0.get(*path) != other.0.get(*path)).cloned().collect()
    }
}

fn each_below(root: &Path, directory: &Path, visit: &mut impl FnMut(String, &Path)) {
    for entry in fs::read_dir(directory).unwrap() {
        let file = entry.unwrap().path();
        let path = file.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let is_socket = file.symlink_metadata().unwrap().file_type().is_socket();
        if path.ends_with("-shm") || path.ends_with(".reserve") || is_socket {
            continue;
        }
        visit(path, &file);
        if file.is_dir() {
            each_below(root, &file, visit);
        }
    }
}

/// Files, names and what of either is not synced.
#[derive(Clone, Default)]
pub(crate) struct PowerModel {
    files: Vec<File>,
    by_inode: HashMap<u64, usize>,
    distrustful: bool,
    directories: BTreeMap<String, Directory>,
}

#[derive(Clone, Default)]
struct File {
    synced: Vec<u8>,
    changes: Vec<(Change, Fate)>,
}

#[derive(Clone)]
enum Change {
    Write { at: usize, bytes: Bytes },
    Resize(usize),
}

#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Waiting,
    Synced,
    /// A sync of it failed: no other will make it sure.
    Doubtful,
}

#[derive(Clone, Default)]
struct Directory {
    synced: BTreeMap<String, Entry>,
    waiting: Vec<Naming>,
}

#[derive(Clone, Copy)]
enum Entry {
    File(usize),
    Directory,
}

#[derive(Clone)]
enum Naming {
    Add(String, Entry),
    Remove(String),
    Rename(String, String),
}

fn parent_and_name(path: &str) -> (&str, String) {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    (parent, name.to_owned())
}

impl PowerModel {
    /// A disk with what is in `directory`, all of it synced.
    pub(crate) fn of(directory: &Path) -> Self {
        let mut model = Self { directories: [(String::new(), Directory::default())].into(), ..Self::default() };
        each_below(directory, directory, &mut |path, file| {
            let entry = if file.is_dir() {
                model.directories.insert(path.clone(), Directory::default());
                Entry::Directory
            } else {
                model.by_inode.insert(fs::metadata(file).unwrap().ino(), model.files.len());
                model.files.push(File { synced: fs::read(file).unwrap(), changes: Vec::new() });
                Entry::File(model.files.len() - 1)
            };
            let (parent, name) = parent_and_name(&path);
            model.directories.get_mut(parent).unwrap().synced.insert(name, entry);
        });
        model
    }

    /// The same disk, which does not have what a sync failed to write, whoever reads it before the power goes.
    pub(crate) fn distrustful(self) -> Self {
        Self { distrustful: true, ..self }
    }

    /// What `event` does to the disk.
    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::Create { path, inode } => {
                self.by_inode.insert(*inode, self.files.len());
                self.files.push(File::default());
                let entry = Entry::File(self.files.len() - 1);
                self.name(path, |name| Naming::Add(name, entry));
            }
            Event::MakeDirectory { path } => {
                self.directories.insert(path.clone(), Directory::default());
                self.name(path, |name| Naming::Add(name, Entry::Directory));
            }
            Event::Remove { path } => self.name(path, Naming::Remove),
            Event::Rename { from, to } => {
                let (there, new) = parent_and_name(to);
                assert_eq!(parent_and_name(from).0, there, "the model knows no renames between directories");
                self.name(from, |old| Naming::Rename(old, new));
            }
            Event::SyncDirectory { path } => {
                let directory = self.directories.get_mut(path).unwrap();
                for naming in std::mem::take(&mut directory.waiting) {
                    naming.apply(&mut directory.synced);
                }
            }
            Event::Write { inode, at, bytes } => self.change(*inode, Change::Write { at: *at, bytes: bytes.clone() }),
            Event::Truncate { inode, length } => self.change(*inode, Change::Resize(*length)),
            Event::Sync { inode, failed } => self.file(*inode).sync(*failed),
            Event::Start if self.distrustful => {}
            Event::Start => self.files.iter_mut().for_each(File::start),
        }
    }

    fn name(&mut self, path: &str, naming: impl FnOnce(String) -> Naming) {
        let (parent, name) = parent_and_name(path);
        self.directories.get_mut(parent).unwrap().waiting.push(naming(name));
    }

    fn change(&mut self, inode: u64, change: Change) {
        self.file(inode).changes.push((change, Fate::Waiting));
    }

    fn file(&mut self, inode: u64) -> &mut File {
        let file = self.by_inode.get(&inode).unwrap_or_else(|| panic!("nobody created the file with inode {inode}"));
        &mut self.files[*file]
    }

    /// What the disk holds if the power goes now.
    pub(crate) fn after_power_cut(&self, loss: Loss, dice: &mut Dice) -> Image {
        let mut image = Image::default();
        // In some images much survives, in others little.
        let percent = [10, 50, 90][dice.below(3) as usize];
        self.survivors("", loss, percent, dice, &mut image);
        image
    }

    fn survivors(&self, path: &str, loss: Loss, percent: u64, dice: &mut Dice, image: &mut Image) {
        let directory = &self.directories[path];
        let mut names = directory.synced.clone();
        let kept = match loss {
            Loss::Everything | Loss::Names => 0,
            Loss::Nothing | Loss::Bytes => directory.waiting.len(),
            Loss::Writes | Loss::Sectors => dice.below(directory.waiting.len() as u64 + 1) as usize,
        };
        for naming in &directory.waiting[..kept] {
            naming.clone().apply(&mut names);
        }
        for (name, entry) in names {
            let path = if path.is_empty() { name } else { format!("{path}/{name}") };
            match entry {
                Entry::File(file) => {
                    let bytes = self.files[file].survivors(loss, percent, dice);
                    image.0.insert(path, Some(bytes));
                }
                Entry::Directory => {
                    image.0.insert(path.clone(), None);
                    self.survivors(&path, loss, percent, dice, image);
                }
            }
        }
    }
}

impl Naming {
    fn apply(self, names: &mut BTreeMap<String, Entry>) {
        match self {
            Self::Add(name, entry) => drop(names.insert(name, entry)),
            Self::Remove(name) => drop(names.remove(&name)),
            Self::Rename(from, to) => {
                let entry = names.remove(&from).unwrap();
                names.insert(to, entry);
            }
        }
    }
}

impl File {
    fn start(&mut self) {
        for (_, fate) in self.changes.iter_mut().filter(|(_, fate)| *fate == Fate::Doubtful) {
            *fate = Fate::Waiting;
        }
    }

    fn sync(&mut self, failed: bool) {
        for (_, fate) in self.changes.iter_mut().filter(|(_, fate)| *fate == Fate::Waiting) {
            *fate = if failed { Fate::Doubtful } else { Fate::Synced };
        }
        let sure = self.changes.iter().take_while(|(_, fate)| *fate == Fate::Synced).count();
        for (change, _) in self.changes.drain(..sure) {
            change.apply(&mut self.synced);
        }
    }

    fn survivors(&self, loss: Loss, percent: u64, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        for (change, fate) in &self.changes {
            match loss {
                _ if *fate == Fate::Synced => change.apply(&mut bytes),
                Loss::Everything | Loss::Bytes => {}
                Loss::Nothing | Loss::Names => change.apply(&mut bytes),
                Loss::Sectors if change.is_torn(&mut bytes, percent, dice) => {}
                Loss::Writes | Loss::Sectors if dice.below(100) < percent => change.apply(&mut bytes),
                Loss::Writes | Loss::Sectors => {}
            }
        }
        bytes
    }
}

impl Change {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => put(file, *at, bytes),
            Self::Resize(length) => file.resize(*length, 0),
        }
    }

    /// Lets some sectors of a write survive; answers whether it is one.
    fn is_torn(&self, file: &mut Vec<u8>, percent: u64, dice: &mut Dice) -> bool {
        let Self::Write { at, bytes } = self else { return false };
        let mut from = 0;
        while from < bytes.len() {
            let to = bytes.len().min((at + from) / SECTOR * SECTOR + SECTOR - at);
            if dice.below(100) < percent {
                put(file, at + from, &bytes[from..to]);
            }
            from = to;
        }
        true
    }
}

fn put(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if file.len() < at + bytes.len() {
        file.resize(at + bytes.len(), 0);
    }
    file[at..at + bytes.len()].copy_from_slice(bytes);
}
