//! What is made by programs: the lists of what was shipped and most pages of `schema-docs/` by the tests that hold them, the
//! pages of the two schemas by `dcstore`.

use std::{fs, process::Stdio};

use crate::step::{Failed, Steps, cargo, root, shown};

/// Makes them anew.
pub(crate) fn make(steps: &mut Steps) -> Result<(), Failed> {
    // The pages show what was shipped.
    for (package, test) in [
        ("decentcom-server", "shipped"),
        ("decentcom-tools", "the_page_about_the_format"),
        ("decentcom-server", "the_page_of_fields"),
    ] {
        let mut writing = cargo(["test", "--quiet", "--locked", "--package", package, "--lib", test]);
        steps.command(writing.env("UPDATE_SCHEMA_DOCS", "1"))?;
    }
    for (backend, page) in [("redb", "key-value.md"), ("sqlite", "sql.md")] {
        let arguments =
            ["run", "--quiet", "--locked", "--package", "decentcom-tools", "--", "schema", backend, "--markdown"];
        let mut printing = cargo(arguments);
        steps.step(&format!("{} > schema-docs/{page}", shown(&printing)), || {
            let printed = printing.stderr(Stdio::inherit()).output()?;
            Failed::unless_success(&shown(&printing), printed.status)?;
            Ok(fs::write(root().join("schema-docs").join(page), printed.stdout)?)
        })?;
    }
    Ok(())
}
