//! A file that is looked at and never changed: what the engine writes while it opens and repairs it stays in memory.

use std::{
    collections::HashMap,
    fs::File,
    io,
    ops::Bound,
    os::unix::fs::FileExt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use redb::{BackendError, StorageBackend, backends::FileBackend};

/// Bytes of a block; what is written is kept in whole ones.
const BLOCK: u64 = 4096;

/// The file as it is, under the blocks that were written since it was opened.
///
/// It takes the locks that a writer takes, but shared: any number of these may look at a file at once, none while
/// somebody has it open for writing, and nobody can open it for writing meanwhile.
#[derive(Debug)]
pub(crate) struct Overlay {
    file: File,
    locks: FileBackend,
    above: Mutex<Above>,
}

#[derive(Debug)]
struct Above {
    length: u64,
    blocks: HashMap<u64, Box<[u8]>>,
    /// Of the file, only this much still counts: truncation and growth never bring old bytes back.
    file_length: u64,
}

impl Overlay {
    /// Looks at `file`, which is open for reading.
    pub(crate) fn over(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let locks = FileBackend::new(file.try_clone()?).map_err(io::Error::other)?;
        Ok(Self { file, locks, above: Mutex::new(Above { length, blocks: HashMap::new(), file_length: length }) })
    }

    fn above(&self) -> MutexGuard<'_, Above> {
        self.above.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills `out` from the file alone; what lies past its end is zero.
    fn read_file(&self, file_length: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let available = usize::try_from(file_length.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
        let (from_file, past_end) = out.split_at_mut(available);
        past_end.fill(0);
        self.file.read_exact_at(from_file, offset)
    }
}

/// The parts of `[offset, offset + length)` that lie in one block each: block number, place in the block, place in the
/// range, bytes.
fn pieces(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset.checked_add(done as u64)?;
        let within = usize::try_from(at % BLOCK).ok()?;
        let bytes = (BLOCK as usize - within).min(length - done);
        let piece = (at / BLOCK, within, done, bytes);
        done += bytes;
        (bytes > 0).then_some(piece)
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.above().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let above = self.above();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > above.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if above.blocks.is_empty() {
            let file_length = above.file_length;
            drop(above);
            return self.read_file(file_length, offset, out);
        }
        for (number, within, done, bytes) in pieces(offset, out.len()) {
            let Some(piece) = out.get_mut(done..done + bytes) else { continue };
            match above.blocks.get(&number).and_then(|block| block.get(within..within + bytes)) {
                Some(block) => piece.copy_from_slice(block),
                None => self.read_file(above.file_length, number * BLOCK + within as u64, piece)?,
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<(), io::Error> {
        let mut above = self.above();
        if length < above.length {
            above.file_length = above.file_length.min(length);
            above.blocks.retain(|number, _| number * BLOCK < length);
            let within = usize::try_from(length % BLOCK).unwrap_or(0);
            if let Some(tail) = above.blocks.get_mut(&(length / BLOCK)).and_then(|block| block.get_mut(within..)) {
                tail.fill(0);
            }
        }
        above.length = length;
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut above = self.above();
        for (number, within, done, bytes) in pieces(offset, data.len()) {
            if !above.blocks.contains_key(&number) {
                let mut block = vec![0; BLOCK as usize].into_boxed_slice();
                self.read_file(above.file_length, number * BLOCK, &mut block)?;
                above.blocks.insert(number, block);
            }
            let block = above.blocks.get_mut(&number).and_then(|block| block.get_mut(within..within + bytes));
            if let (Some(block), Some(piece)) = (block, data.get(done..done + bytes)) {
                block.copy_from_slice(piece);
            }
        }
        Ok(())
    }

    fn close(&self) -> Result<(), io::Error> {
        self.locks.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locks.try_lock_shared_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locks.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locks.lock_shared_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locks.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locks.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locks.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum FileChange {
        Write(u64, Vec<u8>),
        SetLen(u64),
    }

    fn changes() -> impl Strategy<Value = Vec<FileChange>> {
        let write = (0_u64..20_000, prop::collection::vec(any::<u8>(), 1..6000))
            .prop_map(|(at, data)| FileChange::Write(at, data));
        prop::collection::vec(prop_oneof![3 => write, 1 => (0_u64..25_000).prop_map(FileChange::SetLen)], 0..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Reads are those of a file that was really written, and the file below stays as it was.
        #[test]
        fn it_reads_like_a_file_and_leaves_the_file_alone(start in prop::collection::vec(any::<u8>(), 0..15_000), changes in changes()) {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(&start).unwrap();
            let overlay = Overlay::over(File::open(file.path()).unwrap()).unwrap();
            let mut model = start.clone();
            for change in changes {
                match change {
                    FileChange::SetLen(length) => {
                        overlay.set_len(length).unwrap();
                        model.resize(usize::try_from(length).unwrap(), 0);
                    }
                    FileChange::Write(at, data) => {
                        let end = usize::try_from(at).unwrap() + data.len();
                        if end > model.len() {
                            overlay.set_len(end as u64).unwrap();
                            model.resize(end, 0);
                        }
                        overlay.write(at, &data).unwrap();
                        model[end - data.len()..end].copy_from_slice(&data);
                    }
                }
                let mut all = vec![1; model.len()];
                overlay.read(0, &mut all).unwrap();
                prop_assert_eq!(&all, &model);
                prop_assert!(overlay.read(1, &mut all).is_err() || model.is_empty());
            }
            prop_assert_eq!(std::fs::read(file.path()).unwrap(), start);
        }
    }
}
