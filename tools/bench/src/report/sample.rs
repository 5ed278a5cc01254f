//! Results as a run could have them, for tests.

use std::collections::BTreeMap;

use crate::results::{
    Case, FORMAT, Latency, Line, Machine, Results, Sample, Settings, Subject, SyncCount, Variant, What, Workload,
};

/// A line of three rounds: `rate` operations a second, half of them in `p50` microseconds.
pub(super) fn line(workload: Workload, subject: Subject, case: Case, rate: f64, p50: f64) -> Line {
    let round = |factor: f64| Sample {
        seconds: 4.0,
        operations: (rate * factor * 4.0) as u64,
        latency: Latency {
            p50: p50.round(),
            p90: (p50 * 1.4).round(),
            p99: (p50 * 2.1 / factor).round(),
            p999: (p50 * 4.0).round(),
            max: (p50 * 9.5 / factor).round(),
        },
        peak_memory_bytes: 90 << 20,
        ..Sample::default()
    };
    Line { what: What { workload, subject, case }, rounds: vec![round(1.0), round(0.98), round(1.01)], failure: None }
}

/// Each round changed.
pub(super) fn with(mut line: Line, change: impl Fn(&mut Sample)) -> Line {
    line.rounds.iter_mut().for_each(change);
    line
}

const STORED: [u64; 3] = [10_000, 1_000_000, 10_000_000];

/// How much more something costs in a store of this size, for whoever ages as fast as this.
fn aged(stored: u64, ageing: f64) -> f64 {
    1.0 + ((stored as f64).log10() - 4.0) * ageing
}

/// Every workload, by everybody who does it.
pub(super) fn full() -> Results {
    let mut lines = vec![line(Workload::Disk, Subject::Disk, Case::default(), 2_100.0, 460.0)];
    posts(&mut lines);
    reads(&mut lines);
    others(&mut lines);
    Results {
        format: FORMAT,
        started_at: "2026-11-25T04:30:00Z".into(),
        seconds: 1_830.0,
        settings: Settings {
            quick: false,
            rounds: 3,
            measured_seconds: 4.0,
            warm_up_seconds: 1.0,
            stored: STORED.to_vec(),
            messages: 1_000_000,
            message_bytes: 120,
            directory: "/srv/bench".into(),
        },
        machine: Machine {
            processor: "A Processor 9000".into(),
            cores: 2,
            memory_bytes: 8 << 30,
            system: "Linux 6.1".into(),
            file_system: "ext4 rw,relatime".into(),
            device: Some("vda".into()),
            load_average: 0.12,
        },
        versions: [("dcbench", "0.1.0"), ("redb", "4.6.0"), ("SQLite", "3.50.4")]
            .map(|(name, version)| (name.to_owned(), version.to_owned()))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
        durability: vec![
            SyncCount { subject: Subject::Redb, changes: 200, syncs: Some(201) },
            SyncCount { subject: Subject::Sqlite, changes: 200, syncs: None },
            SyncCount { subject: Subject::PerCallRedb, changes: 200, syncs: Some(3) },
        ],
        lines,
    }
}

fn posts(lines: &mut Vec<Line>) {
    let subjects = [
        (Subject::Redb, 1_900.0, 5_200.0, 0.3),
        (Subject::RawRedb, 2_000.0, 5_600.0, 0.3),
        (Subject::Sqlite, 1_500.0, 3_900.0, 0.6),
        (Subject::RawSqlite, 1_700.0, 4_700.0, 0.6),
        (Subject::Fjall, 1_700.0, 19_000.0, 0.1),
    ];
    for (channels, gain) in [(1000, 1.0), (16, 1.45)] {
        for callers in [1, 64, 256] {
            for (subject, one, many, ageing) in subjects {
                for stored in STORED {
                    let share = f64::from(callers) / (f64::from(callers) + 24.0);
                    let rate = (one + (many * gain * 1.3 - one) * share) / aged(stored, ageing);
                    let case = Case {
                        stored: Some(stored),
                        callers: Some(callers),
                        channels: Some(channels),
                        ..Case::default()
                    };
                    let post = line(Workload::Post, subject, case, rate, 1e6 * f64::from(callers) / rate);
                    lines.push(with(post, |sample| {
                        sample.disk_rate = Some(2_000.0);
                        sample.per_commit = Some(f64::from(callers).sqrt() * 3.0);
                        sample.payload_bytes = Some(1 << 20);
                        sample.device_bytes = Some(((one * aged(stored, ageing) / 100.0) as u64) << 20);
                        sample.file_bytes = Some((stored as f64 * 250.0 * aged(stored, ageing / 9.0)) as u64);
                        sample.messages = Some(stored);
                    }));
                }
            }
        }
    }
    for (subject, rate) in [(Subject::PerCallRedb, 950.0), (Subject::PerCallSqlite, 780.0)] {
        let (stored, channels, callers) = (Some(1_000_000), Some(1000), Some(64));
        let case = Case { stored, channels, callers, ..Case::default() };
        lines.push(line(Workload::Post, subject, case, rate, 64e6 / rate));
    }
    for (subject, most) in [(Subject::Redb, 5_200.0), (Subject::Sqlite, 3_900.0)] {
        for load in [25, 50, 75, 90] {
            let share = f64::from(load) / 100.0;
            let (stored, channels, load_percent) = (Some(1_000_000), Some(1000), Some(load));
            let case = Case { stored, channels, load_percent, ..Case::default() };
            lines.push(line(Workload::Post, subject, case, most * share, most / 4.0 / (1.02 - share)));
        }
    }
    lines.push(Line {
        failure: Some("no space left on <device>".into()),
        rounds: vec![],
        ..line(Workload::Post, Subject::PerCallRedb, Case { callers: Some(16), ..Case::default() }, 1.0, 1.0)
    });
}

fn reads(lines: &mut Vec<Line>) {
    let subjects = [
        (Subject::Redb, 3.1, 0.2),
        (Subject::RawRedb, 2.6, 0.2),
        (Subject::Sqlite, 42.0, 0.1),
        (Subject::RawSqlite, 38.0, 0.1),
        (Subject::Fjall, 5.0, 0.5),
    ];
    for (subject, get, ageing) in subjects {
        for stored in STORED {
            let at = |case| Case { stored: Some(stored), ..case };
            let get = get * aged(stored, ageing);
            lines.push(line(Workload::Read, subject, at(Case::default()), 1e6 / get, get));
            for (variant, times) in [(Variant::Newest, 7.0), (Variant::Deep, 11.0)] {
                let page = (get * 0.6 + 1.0) * times;
                lines.push(line(Workload::Scroll, subject, at(Case::of(variant)), 1e6 / page, page));
                if matches!(subject, Subject::Redb | Subject::Sqlite) {
                    lines.push(line(Workload::Beside, subject, at(Case::of(variant)), 4e5 / page, page * 2.5));
                }
            }
        }
    }
}

fn others(lines: &mut Vec<Line>) {
    for (subject, slow) in [(Subject::Redb, 1.0), (Subject::Sqlite, 1.6)] {
        for workload in [Workload::Sweep, Workload::Reclaim] {
            for (variant, more) in [(Variant::Alone, 1.0), (Variant::Together, 1.9)] {
                let (variant, rows, load_percent) = (Some(variant), Some(1_000_000), Some(50));
                let case = Case { variant, rows, load_percent, ..Case::default() };
                lines.push(line(workload, subject, case, 2_600.0 / slow, 1_100.0 * slow * more));
            }
        }
        for stored in STORED {
            let case = Case { stored: Some(stored), ..Case::default() };
            let load = line(Workload::Load, subject, case.clone(), 210_000.0 / slow, 0.0);
            lines.push(with(load, |sample| {
                sample.seconds = (stored as f64 / sample.operations as f64 * sample.seconds * 8.0).ceil() / 8.0;
                sample.operations = stored;
                sample.file_bytes = Some((260.0 * slow * stored as f64) as u64);
                sample.messages = Some(stored);
            }));
            let case = Case { variant: Some(Variant::Killed), ..case };
            let time = 11_000.0 * slow * aged(stored, 5.0);
            lines.push(line(Workload::Open, subject, case, 1e6 / time, time));
        }
        let memory = line(Workload::Memory, subject, Case { callers: Some(16), ..Case::default() }, 9_000.0, 300.0);
        lines.push(with(memory, |sample| {
            sample.memory_over_time = (0..60).map(|at| ((40.0 * slow) as u64 + at.min(20)) << 20).collect();
        }));
        let case = Case { variant: Some(Variant::Posts), callers: Some(64), ..Case::default() };
        lines.push(line(Workload::Http, subject, case, 4_100.0 / slow, 15_000.0));
    }
}
