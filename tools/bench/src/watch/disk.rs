//! What the disk does without any store: 4 KiB over old data, on disk before the next.

use std::{
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::Path,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

const BLOCK_BYTES: usize = 4096;
/// Of the file: 16 MiB.
const BLOCKS: u64 = 4096;

/// A file of old data, to be overwritten.
pub(crate) struct Overwrites {
    file: tempfile::NamedTempFile,
    noise: Noise,
    block: u64,
}

impl Overwrites {
    /// Makes the file in `directory`; it is gone when this is dropped.
    pub(crate) fn prepare(directory: &Path) -> io::Result<Self> {
        // It has a name: btrfs does not put on disk what is synced of a file without one.
        let file = tempfile::NamedTempFile::new_in(directory)?;
        let mut noise = Noise::default();
        for _ in 0..BLOCKS {
            // Not just reserved: the first write to a reserved block changes metadata, which has to be synced too.
            file.as_file().write_all(&noise.block())?;
        }
        file.as_file().sync_all()?;
        Ok(Self { file, noise, block: 0 })
    }

    /// Overwrites one block after the other, each synced, and answers how long each took, in nanoseconds, and how many
    /// seconds all of them took; the first ones, for `warm_up`, are not counted.
    pub(crate) fn measure(&mut self, warm_up: Duration, time: Duration) -> io::Result<(Histogram<u64>, f64)> {
        self.overwrite(warm_up)?;
        self.overwrite(time)
    }

    fn overwrite(&mut self, time: Duration) -> io::Result<(Histogram<u64>, f64)> {
        let mut latencies = Histogram::new(3).map_err(io::Error::other)?;
        let start = Instant::now();
        while start.elapsed() < time {
            let block = self.noise.block();
            let offset = self.block % BLOCKS * BLOCK_BYTES as u64;
            self.block += 1;
            let began = Instant::now();
            self.file.as_file().write_all_at(&block, offset)?;
            self.file.as_file().sync_data()?;
            latencies.record(began.elapsed().as_nanos().try_into().unwrap_or(u64::MAX)).map_err(io::Error::other)?;
        }
        Ok((latencies, start.elapsed().as_secs_f64()))
    }
}

/// Blocks that differ in every byte, so that nothing is left out because it is there already, or compressed.
#[derive(Default)]
struct Noise(u64);

impl Noise {
    fn block(&mut self) -> [u8; BLOCK_BYTES] {
        let mut block = [0; BLOCK_BYTES];
        for word in block.as_chunks_mut::<8>().0 {
            *word = self.next().to_le_bytes();
        }
        block
    }

    /// SplitMix64, of Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn noise_does_not_repeat() {
        let mut noise = Noise::default();
        let blocks: BTreeSet<[u8; BLOCK_BYTES]> = (0..100).map(|_| noise.block()).collect();
        assert_eq!(blocks.len(), 100);
        let words: BTreeSet<[u8; 8]> = blocks.iter().flat_map(|block| block.as_chunks::<8>().0.to_vec()).collect();
        assert_eq!(words.len(), 100 * BLOCK_BYTES / 8);
    }

    #[test]
    fn only_overwrites_after_the_warm_up_are_in_the_figures_and_nothing_is_left_behind() {
        let directory = tempfile::tempdir().unwrap();
        let mut disk = Overwrites::prepare(directory.path()).unwrap();
        let (latencies, seconds) = disk.measure(Duration::from_millis(200), Duration::from_millis(1)).unwrap();
        assert!(!latencies.is_empty());
        assert!(latencies.max() as f64 <= seconds * 1e9 * 1.001); // the histogram rounds up
        let none = disk.measure(Duration::from_millis(5), Duration::ZERO).unwrap().0;
        assert!(none.is_empty());
        drop(disk);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
