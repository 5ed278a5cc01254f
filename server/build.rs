//! The migrations are embedded into the program: it is built anew when one is added.

#![allow(clippy::print_stdout)] // how a build script speaks

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
