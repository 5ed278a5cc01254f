//! What is embedded into the program besides its sources: the day of the build, and the migrations.

#![allow(clippy::print_stdout)] // how a build script speaks

use std::{
    env,
    error::Error,
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const DAY: u64 = 24 * 3600;
/// The folder of the migrations.
const MIGRATIONS: &str = "migrations";

fn main() -> Result<(), Box<dyn Error>> {
    day_of_the_build();
    migrations()
}

/// A clock before this day is wrong. SOURCE_DATE_EPOCH sets it, so that the same source can give the same program.
fn day_of_the_build() {
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let told = env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = told.unwrap_or(now).as_secs();
    println!("cargo:rustc-env=DECENTCOM_BUILD_DAY_MILLIS={}", (seconds - seconds % DAY) * 1000);
}

/// The names and texts of the migrations, which are listed nowhere else, for `src/storage/sqlite/migrations.rs`. (sqlx's macro
/// would find them too, but compiles sqlx and SQLite a second time, for the compiler's own use.)
fn migrations() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={MIGRATIONS}");
    let mut names = Vec::new();
    for entry in fs::read_dir(Path::new(&env::var("CARGO_MANIFEST_DIR")?).join(MIGRATIONS))? {
        names.push(entry?.file_name().into_string().map_err(|name| format!("{name:?} is no name for a migration"))?);
    }
    names.sort_unstable();
    let mut list = String::from("[\n");
    for name in names {
        let path = format!("/{MIGRATIONS}/{name}");
        writeln!(list, r#"    ({name:?}, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), {path:?}))),"#)?;
    }
    list.push_str("]\n");
    fs::write(Path::new(&env::var("OUT_DIR")?).join("migrations.rs"), list)?;
    Ok(())
}
