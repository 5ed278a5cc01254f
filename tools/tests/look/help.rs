//! Help texts as they are committed, so that nobody changes one without seeing it whole.

use clap::CommandFactory;
use dcstore::cli::Cli;

#[test]
fn every_help_text_is_as_committed() {
    let mut command = Cli::command().term_width(100);
    command.build();
    let mut texts = command.render_long_help().to_string();
    let subcommands: Vec<_> = command.get_subcommands().map(|it| it.get_name().to_owned()).collect();
    for name in subcommands.iter().filter(|name| *name != "help") {
        let sub = command.find_subcommand_mut(name).unwrap();
        texts += &format!("\n──── {name} ────\n{}", sub.clone().term_width(100).render_long_help());
    }
    let lines: Vec<_> = texts.lines().map(str::trim_end).collect();
    insta::assert_snapshot!(lines.join("\n"));
}
