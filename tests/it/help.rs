//! The help texts: whole, of every command and option, with examples that the real parser takes.

use clap::{Command, CommandFactory, Parser, builder::StyledStr};
use slotcast::cli::Cli;

/// Calls `look` with every command, built, and its name in full.
fn each_command(look: &mut dyn FnMut(&str, &Command)) {
    fn walk(name: &str, command: &Command, look: &mut dyn FnMut(&str, &Command)) {
        look(name, command);
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            walk(&format!("{name} {}", inner.get_name()), inner, look);
        }
    }
    let mut command = Cli::command();
    command.build();
    walk("slotcast", &command, look);
}

/// Every text that the help of `command` is made of, and what it is about.
fn texts(command: &Command) -> Vec<(String, String)> {
    let mut texts = Vec::new();
    let own = [
        ("about", command.get_about()),
        ("long about", command.get_long_about()),
        ("before", command.get_before_help()),
        ("before long", command.get_before_long_help()),
        ("after", command.get_after_help()),
        ("after long", command.get_after_long_help()),
    ];
    let mut add = |what: String, text: Option<&StyledStr>| {
        texts.extend(text.map(|text| (what, text.to_string())));
    };
    for (what, text) in own {
        add(what.to_owned(), text);
    }
    for option in command.get_arguments() {
        add(option.get_id().to_string(), option.get_help());
        add(format!("long {}", option.get_id()), option.get_long_help());
        for value in option.get_possible_values() {
            add(format!("{}={}", option.get_id(), value.get_name()), value.get_help());
        }
    }
    texts
}

/// The examples: lines that begin with `slotcast`, continued behind a backslash, up to the remark beside them.
fn examples(text: &str) -> Vec<String> {
    let mut examples: Vec<String> = Vec::new();
    let mut continued = false;
    for line in text.lines() {
        let command = line.trim_start();
        // What stands apart from the command by two blanks explains it.
        let command = command.split("  ").next().unwrap_or_default().trim_end();
        let (command, more) = match command.strip_suffix('\\') {
            Some(command) => (command.trim_end(), true),
            None => (command, false),
        };
        match examples.last_mut() {
            Some(last) if continued => *last = format!("{last} {command}"),
            _ if command.starts_with("slotcast ") => examples.push(command.to_owned()),
            _ => {}
        }
        continued = more && (continued || command.starts_with("slotcast "));
    }
    examples
}

/// What a shell would hand over: no quotes, and nothing of `> FILE`.
fn words(example: &str) -> Vec<String> {
    assert!(!example.contains(['"', '\'', '$', '|', '&']), "only plain words are understood here: {example}");
    let command = example.split(" > ").next().unwrap_or_default();
    // A word in capitals is the reader's to fill in.
    let fill = |word: &str| if word == "PID" { "1".to_owned() } else { word.to_owned() };
    command.split_whitespace().map(fill).collect()
}

#[test]
fn clap_takes_nothing_in_a_help_text_for_a_line_break() {
    each_command(&mut |name, command| {
        for (what, text) in texts(command) {
            assert!(!text.contains("{n}"), "{name}: {what} breaks at {{n}}: write {{number}}\n{text}");
        }
    });
}

#[test]
fn every_command_and_option_is_explained() {
    each_command(&mut |name, command| {
        assert!(command.get_about().is_some(), "{name} has no text");
        for option in command.get_arguments() {
            assert!(option.get_help().is_some(), "{name} --{} has no text", option.get_id());
        }
    });
}

#[test]
fn no_line_of_a_help_page_ends_within_an_address() {
    each_command(&mut |name, command| {
        for page in [command.clone().render_help(), command.clone().render_long_help()] {
            let page = page.to_string();
            for line in page.lines().map(str::trim_end) {
                let last = line.rsplit(' ').next().unwrap_or_default();
                // An address ends with a channel's number, or with what stands for it.
                let is_whole =
                    !last.starts_with("rtsp://") || !last.ends_with(|c: char| c.is_ascii_lowercase());
                assert!(is_whole, "{name}: {line:?} ends too early in\n{page}");
            }
        }
    });
}

#[test]
fn every_example_is_taken_by_the_parser() {
    let mut count = 0;
    each_command(&mut |name, command| {
        for (what, text) in texts(command) {
            for example in examples(&text) {
                count += 1;
                if let Err(error) = Cli::try_parse_from(words(&example)) {
                    panic!("{name}: {what}: {example}\n{error}");
                }
            }
        }
    });
    assert!(count >= 20, "only {count} examples were found");
}

#[test]
fn examples_are_found_with_their_continuation_and_without_remarks() {
    let text = "Examples:\n  slotcast demo          see it\n  slotcast load push URL \\\n      --audio 47   with sound\n\
                \nSee `slotcast load view`.\n";
    assert_eq!(examples(text), ["slotcast demo", "slotcast load push URL --audio 47"]);
}
